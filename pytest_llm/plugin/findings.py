"""Findings of this run, and the files they are written to."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import update_lines
from pytest_llm.checks import compare_runs
from pytest_llm.checks.findings import Finding
from pytest_llm.checks.judge import judge
from pytest_llm.errors import LLMBenchError
from pytest_llm.machine import fingerprint, qualification
from pytest_llm.records import PairedRun
from pytest_llm.reports import results_file
from pytest_llm.reports.document import Machine
from pytest_llm.reports.recheck import rejudge
from pytest_llm.reports.results import results_of
from pytest_llm.reports.update_baselines import by_home, update
from pytest_llm.system.sandbox import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.baselines import BaselineStore, Missing
    from pytest_llm.checks.family import Decisions, Questions
    from pytest_llm.checks.findings import Comparison
    from pytest_llm.plugin.homes import Homes
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.records import Benchmark, Plan, Run, Subject, Workload
    from pytest_llm.records.protocols import Clock
    from pytest_llm.reports.document import Results
    from pytest_llm.stats.sequential import Rule

_FAILED = ("failed", "error")


class Findings:
    """What was found, by the node id of its test.

    Attributes:
        results: Of all tests; None until :meth:`finish`.
        written: What was written at the end, a line each.
        unwritten: What could not be written, a line each.
    """

    def __init__(self, settings: Settings, homes: Homes, clock: Clock = time.monotonic) -> None:
        """Begin with nothing found; ``clock`` is for the duration, as the time of day may be set back."""
        self.results: Results | None = None
        self.written: list[str] = []
        self.unwritten: list[str] = []
        self._settings = settings
        self._homes = homes
        self._started = datetime.now(timezone.utc)
        self._clock = clock
        self._begun_at = clock()
        self._found: dict[str, Finding] = {}
        self._early: dict[str, Finding] = {}  # of tests that have not ended
        self._begun = False
        self._writable = True

    @cached_property
    def qualified_since(self) -> str | None:
        """When this machine was qualified; None if it is not."""
        return qualification.read(self._settings.cache, fingerprint.fingerprint()).since

    def add(self, finding: Finding) -> None:
        """Add the finding of a test; if a plugin repeats it, a failure before still counts."""
        nodeid = finding.benchmark.nodeid
        before = self._found.get(nodeid, finding)
        self._early.pop(nodeid, None)
        self._found[nodeid] = replace(
            finding, outcome=before.outcome, failed_by_verdict=before.failed_by_verdict
        )

    def note_sessions(
        self,
        plan: Plan,
        subject: Subject,
        reference: Subject | None,
        runs: Mapping[Workload, Run | PairedRun],
        decisions: Decisions,
        stored: Callable[[Benchmark], BaselineStore | Missing],
    ) -> None:
        """Judge tests that have not ended by the sessions of their campaign so far."""
        for each in plan.benchmarks:
            if each.subject != subject or each.workload not in runs:
                continue
            measured = runs[each.workload]
            own = self._settings.reference_of(subject)
            if reference == (own or plan.anchor_of(subject, each.workload)):
                with suppress(LLMBenchError):  # raised again when the test is judged
                    unclaimed, runs_stored = replace(each, claims=()), stored(each)
                    found = judge(unclaimed, measured, (), runs_stored, decisions, anchored=own is None)
                    self.add_early(found)
            elif isinstance(measured, PairedRun):
                asked = [claim for claim in each.claims if claim.than == reference]
                self.add_claims(each, [compare_runs(measured, claim, decisions) for claim in asked])

    def add_missing(self, benchmark: Benchmark, problem: str) -> None:
        """Add why nothing was found for a test, if nothing was."""
        if benchmark.nodeid not in {*self._found, *self._early}:
            self._found[benchmark.nodeid] = Finding(benchmark, problem=problem)

    def judged_again(self, rule: Rule, questions: Questions) -> dict[str, Finding]:
        """Return the findings by node id, judged anew from the series that the results hold."""
        return {
            each.benchmark.nodeid: each for each in rejudge(self._results(rule, questions, finished=False))
        }

    def add_early(self, finding: Finding) -> None:
        """Add what is known of a test before it runs, from the sessions that it shares with others."""
        if finding.benchmark.nodeid not in self._found:
            self._early[finding.benchmark.nodeid] = finding

    def add_claims(self, benchmark: Benchmark, compared: Sequence[Comparison]) -> None:
        """Add what is known of a test's claims before it is judged."""
        found = self._early.get(benchmark.nodeid, Finding(benchmark))
        asked = [each.asked for each in compared]
        others = [each for each in found.comparisons if each.asked not in asked]
        self.add_early(replace(found, comparisons=(*others, *compared)))

    def note_outcome(self, nodeid: str, outcome: str, *, failed_by_verdict: bool) -> bool:
        """Note how the test of a benchmark ended; of a repeated one, the first failure counts.

        Returns:
            False if there is no finding, because the test was skipped before it was measured.
        """
        if nodeid in self._found and self._found[nodeid].outcome not in _FAILED:
            self._found[nodeid] = replace(
                self._found[nodeid], outcome=outcome, failed_by_verdict=failed_by_verdict
            )
        return nodeid in self._found

    def runs(self) -> list[Run]:
        """Return every run that a benchmark got, those of tests that did not end included."""
        return [finding.run for finding in self._all() if finding.run is not None]

    def write_early(self, rule: Rule, questions: Questions) -> None:
        """Write what is found so far, marked unfinished: a process that is killed writes nothing more."""
        if self._settings.json is None or not self._writable:
            return
        results = self._results(rule, questions, finished=False)
        self._begun = True
        try:
            results_file.write_early(self._settings.json, results)
        except LLMBenchError:  # told at the end, when it is tried again
            self._writable = False

    def finish(self, rule: Rule, questions: Questions) -> None:
        """Build the results, once all tests have ended, and write what the options ask for.

        Args:
            rule: The sequential rule of the pairs.
            questions: What pairs were measured for.
        """
        self.results = self._results(rule, questions, finished=True)
        if not self._found and not self._begun:
            return
        for write in (self._write_results, self._update_baselines):
            try:
                self.written += write(self.results)
            except LLMBenchError as error:  # what can be written still is
                self.unwritten.append(str(error))

    def _all(self) -> list[Finding]:
        return [*self._found.values(), *self._early.values()]

    def _results(self, rule: Rule, questions: Questions, *, finished: bool) -> Results:
        parts: dict[str, Any] = fingerprint.parts()
        machine = Machine(fingerprint.fingerprint(), **parts, qualified=self.qualified_since)
        now = self._started + timedelta(seconds=self._clock() - self._begun_at)
        results = results_of(
            self._all(),
            self._started,
            now,
            machine,
            rule,
            questions=questions,
            failing=self._settings.failing,
            finished=finished,
        )
        return replace(results, sandbox=Policy(self._settings.sandbox).applied)

    def _write_results(self, made: Results) -> list[str]:
        if self._settings.json is None:
            return []
        results_file.write(self._settings.json, made)
        return [f"results in {self._settings.json}"]

    def _update_baselines(self, made: Results) -> list[str]:
        mode = self._settings.update
        if mode is None:
            return []
        lines = []
        for name, part in by_home(made).items():
            store = self._homes.called(name).baselines
            lines += update_lines(update(store, [part], mode), store.folder)
        return lines
