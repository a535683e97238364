"""Outputs of benchmarks, judged before anything is timed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llm.baselines import Missing
from pytest_llm.checks import judge_output, not_covered_output, without_reference
from pytest_llm.checks.baseline import stored_snapshot
from pytest_llm.errors import LLMBenchError, NotCoveredError
from pytest_llm.records import StoredSnapshot

if TYPE_CHECKING:
    from pytest_llm.checks.findings import OutputJudgement
    from pytest_llm.plugin.runner import Measuring
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.plugin.stored import Stored
    from pytest_llm.records import Benchmark, Plan, Run, Subject
    from pytest_llm.records.protocols import Progress


class Outputs:
    """Judges the output of candidates by that of their references or by stored snapshots."""

    def __init__(self, settings: Settings, measuring: Measuring, stored: Stored) -> None:
        self._settings = settings
        self._measuring = measuring
        self._stored = stored

    def compare(self, plan: Plan, subject: Subject, reference: Subject, progress: Progress) -> None:
        """Compare outputs for all benchmarks of a pair, before the pair is timed for all of them."""
        for each in plan.benchmarks:
            if each.output is not None and each.subject == subject:
                with suppress(LLMBenchError):  # cached, and raised again for its own benchmark
                    self.judged(each, reference, progress)

    def judged(
        self, benchmark: Benchmark, reference: Subject | None, progress: Progress
    ) -> tuple[OutputJudgement | None, Run | None]:
        """Judge the candidate's output, and return its run so far; nothing if no marker asks for it.

        Raises:
            LLMBenchError: It could not be captured.
        """
        gate, subject, workload = benchmark.output, benchmark.subject, benchmark.workload
        if gate is None:
            return None, None
        stored: StoredSnapshot | None = None
        missing = Missing("")
        try:
            if reference is None:
                found = self._snapshot(benchmark, progress)
                if isinstance(found, StoredSnapshot):
                    stored = found
                elif self._settings.keeps_output:
                    missing = found
                else:
                    return without_reference(gate, found), None
            output = self._measuring.output(subject, reference or stored, gate, workload, progress)
        except NotCoveredError as error:
            return not_covered_output(gate, str(error)), None
        reason = str(missing) or output.comparison.missing
        comparison = replace(output.comparison, missing=reason, unrecorded=missing.unrecorded)
        run = replace(output.run, workload=workload)
        return judge_output(gate, comparison, output.snapshot, stored), run

    def _snapshot(self, benchmark: Benchmark, progress: Progress) -> StoredSnapshot | Missing:
        store = self._stored.store_of(benchmark)
        if not self._settings.keeps_output and not store.has_invariants(benchmark.key):
            return store.without_snapshot(benchmark.key)
        run = self._measuring.unmeasured(benchmark.subject, benchmark.workload, progress)
        return stored_snapshot(self._stored.judging(benchmark), benchmark.key, run)
