"""From what was measured for a benchmark to a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks import compare_runs, compare_sides, judge, screen_run
from pytest_llm.checks.baseline_check import drift_from, screen_by, stored_snapshot
from pytest_llm.checks.findings import Drift, Finding
from pytest_llm.stats.sequential import rule_for

if TYPE_CHECKING:
    from pytest_llm.baselines import BaselineStore
    from pytest_llm.checks.findings import BaselineCheck, Comparison
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.records import Benchmark, Claim, Gate, PairedRun, Run, StoredSnapshot, TestKey


_REPLACED = "this run replaces it"


class Judging:
    """Judges by limits, by stored runs, and by references."""

    def __init__(self, settings: Settings, baselines: BaselineStore) -> None:
        """Take what the options say, and what was recorded before."""
        self._settings = settings
        self._baselines = baselines

    def alone(self, benchmark: Benchmark, run: Run, family: int) -> Finding:
        """Judge a run by limits and by what is stored.

        Raises:
            BaselineError: A file of baselines cannot be used.
        """
        return Finding(
            benchmark,
            run,
            judgements=tuple(judge(run, benchmark.limits)),
            baseline_checks=tuple(self._screen(benchmark, run, gate, family) for gate in benchmark.gates),
            drift=self._drift(benchmark, run) if benchmark.gates else None,
        )

    def paired(self, benchmark: Benchmark, run: PairedRun, family: int) -> Finding:
        """Judge a candidate by limits and by its reference."""
        return Finding(
            benchmark,
            run.candidate,
            judgements=tuple(judge(run.candidate, benchmark.limits)),
            comparisons=tuple(self.compare(run, gate, family) for gate in benchmark.gates),
            drift=compare_sides(run),
        )

    def compare(self, run: PairedRun, asked: Gate | Claim, family: int) -> Comparison:
        """Judge one metric of a candidate by its reference."""
        return compare_runs(run, asked, rule_for(self._settings.effort, family))

    def stored_output(self, key: TestKey, run: Run) -> StoredSnapshot | str:
        """Return what is stored of a test's output, or why there is none to compare with.

        Raises:
            BaselineError: A file of baselines cannot be used.
        """
        return _REPLACED if self._settings.update == "replace" else stored_snapshot(self._baselines, key, run)

    def _drift(self, benchmark: Benchmark, run: Run) -> Drift:
        if self._settings.update == "replace":
            return Drift(reason=_REPLACED)
        return drift_from(self._baselines, benchmark.key, run)

    def _screen(self, benchmark: Benchmark, run: Run, gate: Gate, family: int) -> BaselineCheck:
        if self._settings.update == "replace":
            return screen_run(run, gate, (), family, missing=_REPLACED)
        return screen_by(self._baselines, benchmark.key, run, gate, family)
