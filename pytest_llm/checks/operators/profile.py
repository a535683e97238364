"""Operator profiles of two builds: each case once, then interleaved repetitions of the most expensive."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.checks.operators import cases, programs
from pytest_llm.errors import EngineError
from pytest_llm.models import read_model
from pytest_llm.records import OperatorRun, OperatorTimes
from pytest_llm.stats.operators import affordable_cases, least_repetitions
from pytest_llm.system.coin import toss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.checks.operators.cases import CaseArguments
    from pytest_llm.checks.operators.programs import CaseTime
    from pytest_llm.records import LoadOptions, Model, Phase, Run, Workload
    from pytest_llm.records.protocols import Clock, Programs

BUDGET = 120.0  # seconds of measuring; making the programs comes before
_FIRST_PASS = 1 / 3  # of the budget
_CAUTION = 0.9  # of the rest: repetitions may take longer than the first pass
_ONE = 30.0  # seconds; more than any case takes
_CANDIDATE, _REFERENCE = 0, 1
_REPACKED = (
    "weights are repacked when the model is loaded, and upstream's benchmark measures them as they are in "
    "the file"
)


@dataclass(frozen=True)
class Work:
    """The work in which two builds are compared."""

    phase: Phase
    model: Model
    options: LoadOptions
    workload: Workload  # its lengths give the length of the cache
    backend: str = "CPU"  # ggml's name of the device
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run, phase: Phase) -> Work:
        """Return a run's work, on the device that holds its weights."""
        sizes: Any = run.effective_options.get("buffers_mib") or {}
        held = [name.split()[0] for name in sizes if name.endswith(" model")]
        devices = [name for name in held if not name.startswith("CPU")]
        notes = (_REPACKED,) if any("REPACK" in name for name in held) else ()
        options, workload = run.subject.load_options, run.workload
        return cls(phase, run.model, options, workload, next(iter(devices), "CPU"), notes)


@dataclass(frozen=True)
class ProfilingContext:
    """The context of a comparison."""

    on_progress: Callable[[str], None]
    clock: Clock = time.monotonic  # for the budget only
    coin: Callable[[], bool] = toss
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)  # logical; upstream's benchmark uses half
    seconds: float = BUDGET
    perf: Callable[[Path, str, Sequence[str], int, float], list[CaseTime]] = programs.perf


def without(phase: Phase, reason: str) -> OperatorRun:
    """Return the record of a comparison that was not made, with the reason."""
    return OperatorRun(phase, not_covered=(reason,))


def compare(candidate: Programs, reference: Programs, work: Work, context: ProfilingContext) -> OperatorRun:
    """Return the times of operations in two builds.

    Cases that upstream's benchmark cannot measure, or that crash a build, are listed as not covered. Raises
    ``BuildError`` if a program cannot be made, ``ModelError`` if the model's header cannot be read.
    """
    sides = (candidate, reference)
    made = [side.program(programs.BENCHMARK, context.on_progress) for side in sides]
    with tempfile.TemporaryDirectory() as temporary:
        shapes, asked, problems = _asked(sides, made, work, context, Path(temporary))
        context.on_progress(
            f"comparing operators of both builds, {work.phase}: up to {context.seconds:.0f} s"
        )
        bench = _Bench(made, work, context)
        first = bench.measure_once(asked)
        times = bench.repeat(first)
        return OperatorRun(
            phase=work.phase,
            shapes=shapes,
            threads=bench.threads,
            asked_threads=work.options.n_threads,
            times=tuple(times),
            not_covered=(*problems, *bench.problems),
            notes=work.notes,
            seconds=bench.spent(),
        )


def _asked(
    sides: tuple[Programs, Programs],
    made: Sequence[Path],
    work: Work,
    context: ProfilingContext,
    folder: Path,
) -> tuple[Any, list[CaseArguments], list[str]]:
    """Return "model" or "built in", the cases, and why they are not the model's own."""
    header = read_model(work.model.path)
    nearest = cases.built_in(header, work.options, work.workload.parallel, work.phase)
    if work.phase == "prompt":
        # Upstream repeats a case of a file until it went through 8 GB: of a prompt, that takes half a minute.
        return "built in", nearest, []
    try:
        old = [side for side, program in zip(sides, made, strict=True) if not programs.takes_files(program)]
        if old:
            raise EngineError(f"the benchmark of {old[0].commit} does not measure them")
        own = cases.of_the_model(
            sides, work.model, header, work.options, work.workload, folder, context.on_progress
        )
    except EngineError as error:
        return "built in", nearest, [f"the model's own shapes: {error}"]
    return "model", own, []


# A case, its times, and the seconds that one measurement of both sides takes.
_Measured = tuple["CaseArguments", OperatorTimes, float]


class _Bench:
    """Measures within the budget."""

    def __init__(self, made: Sequence[Path], work: Work, context: ProfilingContext) -> None:
        self._programs = made
        self._work = work
        self._context = context
        self._started = context.clock()
        self.problems: list[str] = []
        self.threads = min(max(1, context.cores // 2), work.options.n_threads)

    def spent(self) -> float:
        return self._context.clock() - self._started

    def measure_once(self, asked: Sequence[CaseArguments]) -> list[_Measured]:
        """Measure each case once; return them with times and costs in seconds, the most expensive first."""
        measured = []
        left_out = 0
        for each in asked:
            if self.spent() > self._context.seconds * _FIRST_PASS:
                left_out += 1
                continue
            began = self.spent()
            with suppress(_UncoveredError):
                timed = self._pair(each)
                first = timed[_CANDIDATE].seconds, timed[_REFERENCE].seconds
                ours = timed[_CANDIDATE]
                case = replace(each.case, operator=ours.operator, parameters=ours.parameters)
                measured.append((each, OperatorTimes(case, first), self.spent() - began))
        if left_out:
            self.problems.append(f"no time was left for {left_out} cheaper ones")
        return sorted(measured, key=lambda each: -max(each[1].case.nodes, 1) * max(each[1].first))

    def repeat(self, measured: Sequence[_Measured]) -> list[OperatorTimes]:
        """Measure as many of the first cases as can be repeated often enough for a result."""
        times = [each for _, each, _ in measured]
        if not measured:
            return times
        costs = [cost for _, _, cost in measured]
        chosen = affordable_cases(costs, (self._context.seconds - self.spent()) * _CAUTION)
        broken: set[int] = set()
        for _ in range(least_repetitions(chosen)):
            for place in range(chosen):
                if place in broken or self.spent() + costs[place] > self._context.seconds:
                    continue
                try:
                    pair = self._pair(measured[place][0])
                except _UncoveredError:
                    broken.add(place)
                    continue
                times[place] = replace(
                    times[place],
                    candidate=(*times[place].candidate, pair[_CANDIDATE].seconds),
                    reference=(*times[place].reference, pair[_REFERENCE].seconds),
                )
        return times

    def _pair(self, asked: CaseArguments) -> tuple[CaseTime, CaseTime]:
        """Measure both sides of a case; the coin decides the order."""
        order = (_CANDIDATE, _REFERENCE) if self._context.coin() else (_REFERENCE, _CANDIDATE)
        timed = {side: self._one(asked, side) for side in order}
        candidate, reference = timed[_CANDIDATE], timed[_REFERENCE]
        if candidate.operator != reference.operator:
            which = f"the builds run it as {candidate.operator} and {reference.operator}"
            raise self._uncovered(asked, which)
        return candidate, reference

    def _one(self, asked: CaseArguments, side: int) -> CaseTime:
        words = asked.candidate if side == _CANDIDATE else asked.reference
        who = "the candidate" if side == _CANDIDATE else "the reference"
        program, threads = self._programs[side], self._work.options.n_threads
        try:
            timed = self._context.perf(program, self._work.backend, words, threads, _ONE)
        except EngineError as error:
            raise self._uncovered(asked, f"{error} ({who})") from None
        if not timed:
            raise self._uncovered(asked, f"{who} has no such case")
        if not timed[0].supported or timed[0].seconds <= 0:
            raise self._uncovered(asked, f"{who} does not support it")
        return timed[0]

    def _uncovered(self, asked: CaseArguments, reason: str) -> _UncoveredError:
        self.problems.append(f"{asked.case}: {reason}")
        return _UncoveredError()


class _UncoveredError(Exception):
    """A case cannot be measured."""
