"""Results become baselines: runs with their verdicts, ratios to an anchor, and invariants."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_llm.baselines import Conditions, RecordedInvariants, RecordedRuns, Refusal, Series, Updated
from pytest_llm.baselines.records import RATIO
from pytest_llm.records import OUTPUT_SNAPSHOT, Provenance, StoredRun, Verdict, metrics
from pytest_llm.records.serialization import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.baselines import BaselineStore, Mode
    from pytest_llm.records import JSON, Run
    from pytest_llm.reports.document import Results, TestEntry
    from pytest_llm.reports.verdict_entries import MetricEntry


def by_home(results: Results) -> dict[str, Results]:
    """Return results by the homes of their tests."""
    found: dict[str, list[TestEntry]] = {}
    for test in results.tests:
        found.setdefault(test.home, []).append(test)
    return {home: replace(results, tests=tuple(tests)) for home, tests in (found or {"": []}).items()}


def update(store: BaselineStore, results: Sequence[Results], mode: Mode) -> Updated:
    """Store results of one machine, oldest first, and return what was written and what was not.

    Runs that regressed are stored with that verdict: if only passes were, a machine that has become slower
    would fail for months. Tests that failed otherwise are left out, unless the mode is "replace".

    Raises:
        BaselineError: A file cannot be used, and nothing is written; or it cannot be written, and earlier
            modules stay.
    """
    tests = [(each, test) for each in results for test in each.tests]
    refused = [refusal for each, test in tests for refusal in _left_out(each, test, mode)]
    stored = [(each, test) for each, test in tests if not _left_out(each, test, mode)]
    for module in sorted({test.key.module for _, test in stored}):
        store.check(module)  # before anything is written: half a run is worse than none
    runs = store.update([(test.key, _runs(each, test)) for each, test in stored], mode)
    anchored = [(test.key, found) for each, test in stored if (found := _ratios(each, test)) is not None]
    ratios = store.update_ratios(anchored, mode)
    entries = [(test.key, _invariants(each, test, mode)) for each, test in stored]
    invariants = store.update_invariants([entry for entry in entries if entry[1].invariants], mode)
    return Updated(
        runs.written + ratios.written + invariants.written,
        (*refused, *runs.refused, *ratios.refused, *invariants.refused),
    )


def _left_out(results: Results, test: TestEntry, mode: Mode) -> list[Refusal]:
    if test.run is None or not test.metrics:
        return [Refusal(test.key, "was not measured")]
    if not test.outcome:
        return [Refusal(test.key, "did not end")]
    cut_off = _run_of(results, test).cut_off
    if cut_off:
        return [Refusal(test.key, f"has fewer sessions than planned: {cut_off}")]
    if mode != "replace" and _failed_itself(test):
        reason = "the test itself failed, not by a verdict: replace its baseline if this is as it should be"
        return [Refusal(test.key, reason)]
    return []


def _failed_itself(test: TestEntry) -> bool:
    """Return if a test failed for another reason than its verdicts, or the speed is that of a wrong model."""
    wrong = test.output is not None and test.output.verdict is Verdict.WRONG_OUTPUT
    return wrong or (test.outcome != "passed" and not test.failed_by_verdict)


def _runs(results: Results, test: TestEntry) -> RecordedRuns:
    run = _run_of(results, test)
    provenance = _provenance(results, run)
    series = {
        name: Series(
            entry.unit,
            (StoredRun(entry.value, provenance, run.how_read(metric), run.control, _verdict(entry)),),
        )
        for name, entry in test.metrics.items()
        for metric in [metrics.find(name)]
        if not metric.slope  # about 0: no share of it can be a tolerance
    }
    return RecordedRuns(Conditions.of(run), series)


def _ratios(results: Results, test: TestEntry) -> RecordedRuns | None:
    """Return the ratios of a test's gated metrics to an anchor; None if there are none."""
    run = _run_of(results, test)
    provenance = _provenance(results, run)
    series, anchor = {}, None
    for name, entry in test.metrics.items():
        beside = entry.baseline.anchored if entry.baseline is not None else None
        if beside is None or beside.ratio is None:
            continue
        anchor = results.runs[results.pairs[beside.pair].reference].build
        how = run.how_read(metrics.find(name))
        ratio = StoredRun(beside.ratio, provenance, how, None, _verdict(entry), beside.whole)
        series[name] = Series(RATIO, (ratio,))
    return None if anchor is None else RecordedRuns(Conditions.of(run, anchor), series)


def _verdict(entry: MetricEntry) -> Verdict | None:
    judged = entry.standing_baseline or entry.comparison
    return judged.verdict if judged is not None else None


def _invariants(results: Results, test: TestEntry, mode: Mode) -> RecordedInvariants:
    run = _run_of(results, test)
    invariants = {**run.invariants, **_snapshot(test, mode)}
    return RecordedInvariants(Conditions.portable(run), invariants, _provenance(results, run))


def _run_of(results: Results, test: TestEntry) -> Run:
    assert test.run is not None
    return results.runs[test.run]


def _provenance(results: Results, run: Run) -> Provenance:
    return Provenance.of(run.build, datetime.fromisoformat(results.started), results.plugin_version)


def _snapshot(test: TestEntry, mode: Mode) -> Mapping[str, JSON]:
    """Return the output snapshot of a test, unless an equal one is stored already."""
    output = test.output
    if output is None or output.snapshot is None or (mode != "replace" and output.verdict is Verdict.PASS):
        return {}
    return {OUTPUT_SNAPSHOT: encode(output.snapshot)}
