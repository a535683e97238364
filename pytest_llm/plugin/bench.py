"""Where the parts are put together: one object a run of pytest, owned by its configuration."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Union

from pytest_llm import engines
from pytest_llm.baselines import BaselineStore, Conditions, Missing, Updated, take, update_lines
from pytest_llm.campaign import Outcome, run_alone
from pytest_llm.errors import LLMBenchError, UsageError
from pytest_llm.findings import Drift, Finding
from pytest_llm.gguf_model import GGUFModel
from pytest_llm.inference.stored import ALPHA, BETA
from pytest_llm.models import ModelStore, builtin_entries, read_project
from pytest_llm.plan import family, make_plan
from pytest_llm.probes import machine
from pytest_llm.probes.process_memory import ProcessMemory
from pytest_llm.records import LoadOptions, Plan, Run
from pytest_llm.reports import results
from pytest_llm.verdicts import compare, judge, screen_run

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.baselines import Mode
    from pytest_llm.findings import Screening
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.protocols import Clock, Engine, Watcher
    from pytest_llm.records import Benchmark, Gate, Subject, Workload

_Measured = Union["dict[Workload, Outcome]", LLMBenchError]


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
        self.baselines = BaselineStore(settings.baselines, machine.fingerprint(), machine.parts())
        self._clock = clock
        self._started = datetime.now(timezone.utc)
        self._measured: dict[Subject, _Measured] = {}
        self._loaded: dict[Subject, GGUFModel] = {}

    @cached_property
    def default_load_options(self) -> LoadOptions:
        """What a load option is where nothing else is said."""
        cores = machine.usable_cores()
        return LoadOptions(n_threads=cores, n_threads_batch=cores)

    def make_plan(self, benchmarks: list[Benchmark]) -> None:
        """Take in what collection found."""
        self.plan = make_plan(benchmarks, self.settings.effort)
        if self.settings.disabled:
            campaigns = tuple(replace(each, sessions=1) for each in self.plan.campaigns)
            self.plan = replace(self.plan, campaigns=campaigns)

    def measure(self, benchmark: Benchmark, watcher: Watcher) -> Finding:
        """Return what was found for a benchmark; its campaign runs when its first test asks.

        Raises:
            LLMBenchError: It could not be measured; the finding says so, too.
        """
        if benchmark.subject not in self._measured:
            self._measured[benchmark.subject] = self._campaign(benchmark.subject, watcher)
        measured = self._measured[benchmark.subject]
        outcome = measured if isinstance(measured, LLMBenchError) else measured[benchmark.workload]
        if isinstance(outcome, LLMBenchError):
            self.findings[benchmark.nodeid] = Finding(benchmark, problem=str(outcome))
            raise outcome
        asked = replace(benchmark, limits=(), gates=()) if self.settings.disabled else benchmark
        self.findings[benchmark.nodeid] = Finding(
            benchmark,
            outcome,
            judgements=tuple(judge(outcome, asked.limits)),
            screenings=tuple(self._screen(benchmark, outcome, gate) for gate in asked.gates),
            drift=self._drift(benchmark, outcome) if asked.gates else None,
        )
        return self.findings[benchmark.nodeid]

    def check_baselines(self, benchmark: Benchmark) -> None:
        """Read what a benchmark will be compared with, or added to.

        Raises:
            BaselineError: It is there and cannot be used.
        """
        if benchmark.gates or self.settings.update:
            self.baselines.check(benchmark.key.module)

    def _screen(self, benchmark: Benchmark, run: Run, gate: Gate) -> Screening:
        count = family(self.plan)
        if self.settings.update == "replace":
            return screen_run(run, gate, (), count, missing="this run replaces it")
        found = self.baselines.look_up(benchmark.key, gate.metric.name, Conditions.of(run))
        if isinstance(found, Missing):
            return screen_run(run, gate, (), count, missing=found.reason)
        return screen_run(run, gate, found.runs, count)

    def _drift(self, benchmark: Benchmark, run: Run) -> Drift:
        found = self.baselines.look_up_facts(benchmark.key, Conditions.of_facts(run))
        return Drift(reason=found.reason) if isinstance(found, Missing) else compare(found.facts, run.facts)

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
        facts = self.baselines.update_facts(taken.facts, mode)
        return Updated(runs.written + facts.written, taken.left_out + runs.refused + facts.refused)

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
            {"fingerprint": machine.fingerprint(), **machine.parts()},
            {"alpha": ALPHA, "beta": BETA, "family": family(self.plan)},
        )

    def gguf_model(self, subject: Subject) -> GGUFModel:
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
        loaded = self._engine(subject).start_talking(subject, model)
        try:
            loaded.load()
        except BaseException:
            loaded.close()
            raise
        self._loaded[subject] = GGUFModel(loaded, model)
        return self._loaded[subject]

    def close(self) -> None:
        """End every process that is still there."""
        while self._loaded:
            _, kept = self._loaded.popitem()
            kept.close()

    def _campaign(self, subject: Subject, watcher: Watcher) -> _Measured:
        try:
            return run_alone(
                self.plan.campaign_of(subject),
                self.models.resolve(subject.model),
                self._engine(subject),
                ProcessMemory(),
                self._clock,
                watcher,
            )
        except LLMBenchError as error:
            # Kept, so that the subject's other tests say the same without trying again.
            return error

    def _engine(self, subject: Subject) -> Engine:
        return engines.engine_for(subject.build, self.settings.timeout)
