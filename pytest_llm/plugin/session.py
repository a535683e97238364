"""Where the parts are put together: one object a run of pytest, owned by its configuration."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import BaselineStore, Missing, Updated, take, update_lines
from pytest_llm.checks import (
    judge_output,
    judge_snapshot,
    not_covered_output,
    slower_phases,
    without_reference,
)
from pytest_llm.checks.baseline import NEVER_RECORDED, stored_snapshot
from pytest_llm.checks.findings import Finding
from pytest_llm.checks.judge import judge
from pytest_llm.errors import LLMBenchError, NotCoveredError, UsageError
from pytest_llm.machine import fingerprint, qualification
from pytest_llm.measure.plan import make_plan
from pytest_llm.models import ModelStore, builtin_entries, read_project
from pytest_llm.plugin.runner import Measuring
from pytest_llm.records import LoadOptions, PairedRun, Plan, Run, Verdict
from pytest_llm.reports import results
from pytest_llm.stats.sequential import rule_for

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.baselines import Mode
    from pytest_llm.checks.findings import OutputJudgement
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.records import Benchmark, OperatorRun, OutputGate, Subject
    from pytest_llm.records.generation import GGUFModel
    from pytest_llm.records.protocols import Clock, Progress
    from pytest_llm.stats.sequential import Rule


class Bench:
    """Measures what the plan asks for, keeps loaded models, and gathers findings."""

    def __init__(self, settings: Settings, root: Path, clock: Clock = time.monotonic) -> None:
        """Check what can be checked without loading anything.

        Args:
            settings: The options.
            root: Pytest's rootdir; model paths in markers start here.
            clock: For budgets.

        Raises:
            UsageError: An option or the project's table of models makes no sense.
        """
        self.settings = settings
        self.candidate = settings.candidate
        self.models = ModelStore(
            settings.cache, {**builtin_entries(), **read_project(root / "pyproject.toml")}, root
        )
        for name in settings.models:
            try:
                self.models.check(name)
            except LLMBenchError as error:
                raise UsageError(f"--llm-model: {error}") from None
        self.plan = Plan()
        self.selected = 0  # benchmarks, those that are marked to be skipped included
        self.findings: dict[str, Finding] = {}
        self.stored: list[str] = []  # what was written at the end, a line each
        self.unwritten: list[str] = []  # and what was not, with the reason
        self.baselines = BaselineStore(settings.baselines, fingerprint.fingerprint(), fingerprint.parts())
        self._measuring = Measuring(settings, self.models, clock)
        self._started = datetime.now(timezone.utc)
        self._loaded: dict[Subject, GGUFModel] = {}

    @cached_property
    def default_load_options(self) -> LoadOptions:
        """What a load option is where nothing else is said."""
        cores = fingerprint.usable_cores()
        return LoadOptions(n_threads=cores, n_threads_batch=cores)

    @cached_property
    def qualified_since(self) -> str | None:
        """When this machine showed that its paired verdicts may be believed; None if it did not."""
        return qualification.read(self.settings.cache, fingerprint.fingerprint()).since

    @property
    def compares(self) -> bool:
        """Whether every benchmark is compared with a reference."""
        return self.settings.aa or self.settings.against is not None

    @property
    def _keeps_output(self) -> bool:
        """Whether what is said can be stored, now or from the results file."""
        return self.settings.update is not None or self.settings.json is not None

    def make_plan(self, benchmarks: list[Benchmark]) -> None:
        """Take in what collection found."""
        asked = [self._asked(each) for each in benchmarks]
        self.plan = make_plan(
            asked, self.settings.effort, self._reference_of, records_output=self._keeps_output
        )
        if self.settings.disabled:
            campaigns = tuple(replace(each, sessions=1) for each in self.plan.campaigns)
            self.plan = replace(self.plan, campaigns=campaigns)

    def _asked(self, benchmark: Benchmark) -> Benchmark:
        """Return what is really asked for: nothing is judged where pytest-benchmark is disabled."""
        if not self.settings.disabled:
            return benchmark
        return replace(benchmark, limits=(), gates=(), claims=(), output=None)

    def _reference_of(self, subject: Subject) -> Subject | None:
        if self.settings.disabled:
            return None
        if self.settings.aa:
            return subject
        return replace(subject, build=self.settings.against) if self.settings.against else None

    def measure(self, benchmark: Benchmark, progress: Progress) -> Finding:
        """Return what was found for a benchmark; its campaigns run when its first test asks.

        Raises:
            LLMBenchError: It could not be measured; the finding says so, too.
        """
        try:
            self.findings[benchmark.nodeid] = self._find(self._asked(benchmark), progress)
        except LLMBenchError as error:
            self.findings[benchmark.nodeid] = Finding(benchmark, problem=str(error))
            raise
        return self.findings[benchmark.nodeid]

    def _find(self, benchmark: Benchmark, progress: Progress) -> Finding:
        plan, subject, workload = self.plan, benchmark.subject, benchmark.workload
        reference = self._reference_of(subject)
        output, said = self._output(benchmark, reference, progress)
        if said is not None and output is not None and output.verdict is Verdict.WRONG_OUTPUT:
            # The speed of a model that talks nonsense is worth nothing.
            return Finding(benchmark, said, output=output)
        if reference is not None:
            self._look_at_outputs(subject, reference, progress)
        measured = self._measuring.run(plan, subject, reference, workload, progress)
        claims = [
            self._measuring.paired(plan, subject, each.than, workload, progress) for each in benchmark.claims
        ]
        finding = judge(benchmark, measured, claims, self._stored(), self._rule())
        operators: tuple[OperatorRun, ...] = ()
        if self.settings.operators and isinstance(measured, PairedRun):
            operators = self._measuring.operators(measured, slower_phases(finding.comparisons), progress)
        return replace(finding, output=output, operators=operators)

    def _stored(self) -> BaselineStore | Missing:
        """Return what gates are judged by."""
        return Missing("this run replaces it") if self.settings.update == "replace" else self.baselines

    def _rule(self) -> Rule:
        return rule_for(self.settings.effort, self.plan.family)

    def _look_at_outputs(self, subject: Subject, reference: Subject, progress: Progress) -> None:
        """Compare what any benchmark of a pair asks for before the pair is timed for all of them."""
        for each in self.plan.benchmarks:
            if each.output is not None and each.subject == subject:
                with suppress(LLMBenchError):  # kept, and told to the benchmark whose it is
                    self._output(each, reference, progress)

    def _output(
        self, benchmark: Benchmark, reference: Subject | None, progress: Progress
    ) -> tuple[OutputJudgement | None, Run | None]:
        """Judge what the candidate says, before anything is timed, and return its run so far."""
        gate = benchmark.output
        if gate is None:
            return None, None
        try:
            if reference is None:
                return self._said(benchmark, gate, progress)
            found = self._measuring.outputs(
                benchmark.subject, reference, gate, benchmark.workload.parallel, progress
            )
        except NotCoveredError as error:
            return not_covered_output(gate, str(error)), None
        return judge_output(gate, found.comparison), replace(found.run, workload=benchmark.workload)

    def _said(
        self, benchmark: Benchmark, gate: OutputGate, progress: Progress
    ) -> tuple[OutputJudgement, Run | None]:
        """Judge what the candidate says by what is stored of the test, or record it."""
        subject, workload = benchmark.subject, benchmark.workload
        keeps = self._keeps_output
        if not keeps and not self.baselines.has_invariants(benchmark.key):
            return without_reference(gate, NEVER_RECORDED), None
        presented = self._measuring.presented(subject, workload, progress)
        stored = stored_snapshot(self._stored(), benchmark.key, presented)
        if isinstance(stored, Missing) and not keeps:
            return without_reference(gate, stored.reason), None
        before = None if isinstance(stored, Missing) else stored
        found = self._measuring.said(
            subject, gate, workload.parallel, before.snapshot if before is not None else None, progress
        )
        judged = judge_snapshot(
            gate, found.snapshot, before, stored.reason if isinstance(stored, Missing) else ""
        )
        return judged, replace(found.run, workload=workload)

    def check_baselines(self, benchmark: Benchmark) -> None:
        """Read what a benchmark will be compared with, or added to.

        Raises:
            BaselineError: It is there and cannot be used.
        """
        compared = (benchmark.gates or benchmark.output) and self._reference_of(benchmark.subject) is None
        if compared or self.settings.update:
            self.baselines.check(benchmark.key.module)

    def store(self) -> None:
        """Write the results and baselines that the options ask for; what fails takes nothing else away."""
        for writing in (self._write_results, self._update_baselines):
            try:
                self.stored += writing()
            except LLMBenchError as error:
                self.unwritten.append(str(error))

    def _write_results(self) -> list[str]:
        if self.settings.json is None:
            return []
        results.write(self.settings.json, self.results())
        return [f"results in {self.settings.json}"]

    def _update_baselines(self) -> list[str]:
        mode = self.settings.update
        if mode is None:
            return []
        return update_lines(self.update_baselines(mode), self.settings.baselines)

    def update_baselines(self, mode: Mode) -> Updated:
        """Store what was measured, and return what became of it.

        Raises:
            BaselineError: A file cannot be used or written; what was stored before it stays.
        """
        taken = take(self.results(), mode)
        runs = self.baselines.update(taken.runs, mode)
        invariants = self.baselines.update_invariants(taken.invariants, mode)
        return Updated(runs.written + invariants.written, taken.left_out + runs.refused + invariants.refused)

    def note_outcome(self, nodeid: str, outcome: str) -> None:
        """Take in how a benchmark's test ended."""
        if nodeid in self.findings:
            self.findings[nodeid] = replace(self.findings[nodeid], outcome=outcome)

    def runs(self) -> list[Run]:
        """Return every run that a benchmark got."""
        return [finding.run for finding in self.findings.values() if finding.run is not None]

    def results(self) -> dict[str, Any]:
        """Return what the results file holds."""
        return results.document(
            list(self.findings.values()),
            self._started,
            datetime.now(timezone.utc),
            {
                "fingerprint": fingerprint.fingerprint(),
                **fingerprint.parts(),
                "qualified": self.qualified_since,
            },
            self._rule(),
        )

    def gguf_model(self, subject: Subject, progress: Progress) -> GGUFModel:
        """Return a loaded subject, the same one for every test that uses it.

        Raises:
            LLMBenchError: It cannot be loaded.
        """
        kept = self._loaded.get(subject)
        if kept is not None and kept.alive:
            return kept
        if kept is not None:
            kept.close()
        model = self.models.resolve(subject.model)
        loaded = self._measuring.engine(subject, progress).start_generation(subject, model)
        try:
            loaded.load()
        except BaseException:
            loaded.close()
            raise
        self._loaded[subject] = loaded
        return loaded

    def close(self) -> None:
        """End every process that is still there."""
        while self._loaded:
            _, kept = self._loaded.popitem()
            kept.close()
        self._measuring.close()
