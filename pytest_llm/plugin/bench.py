"""Where the parts are put together: one object a run of pytest, owned by its configuration."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Union

from pytest_llm import engines
from pytest_llm.campaign import Outcome, run_campaign
from pytest_llm.errors import LLMBenchError, UsageError
from pytest_llm.gguf_model import GGUFModel
from pytest_llm.models import ModelStore, builtin_entries, read_project
from pytest_llm.plan import make_plan
from pytest_llm.probes import machine
from pytest_llm.probes.process_memory import ProcessMemory
from pytest_llm.records import Finding, LoadOptions, Plan, Run
from pytest_llm.reports import results
from pytest_llm.verdicts import judge

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.plugin.settings import Settings
    from pytest_llm.protocols import Clock, Engine, Watcher
    from pytest_llm.records import Benchmark, Subject, Workload

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
        self.unwritten = ""  # why the results file is not there
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
        limits = () if self.settings.disabled else benchmark.limits
        judgements = tuple(judge(outcome, limits))
        self.findings[benchmark.nodeid] = Finding(benchmark, outcome, judgements)
        return self.findings[benchmark.nodeid]

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
            return run_campaign(
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
