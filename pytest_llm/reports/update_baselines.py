"""Results become baselines: the runs and invariants of tests that did not fall short."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_llm.baselines import Conditions, RecordedInvariants, RecordedRuns, Refusal, Series, Updated
from pytest_llm.baselines.records import RATIO
from pytest_llm.records import ALWAYS_FAILING, OUTPUT_SNAPSHOT, Provenance, StoredRun, Verdict, metrics
from pytest_llm.records.serialization import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.baselines import BaselineStore, Mode
    from pytest_llm.records import JSON, Run
    from pytest_llm.reports.document import Results, TestEntry
    from pytest_llm.reports.verdict_entries import MetricEntry

_OPEN = {Verdict.DRIFT, Verdict.INCONCLUSIVE, Verdict.NO_BASELINE, Verdict.NOT_COVERED, Verdict.UNRECORDED}


def by_home(results: Results) -> dict[str, Results]:
    """Return results by the homes of their tests."""
    found: dict[str, list[TestEntry]] = {}
    for test in results.tests:
        found.setdefault(test.home, []).append(test)
    return {home: replace(results, tests=tuple(tests)) for home, tests in (found or {"": []}).items()}


def update(store: BaselineStore, results: Sequence[Results], mode: Mode) -> Updated:
    """Store results of one machine, oldest first, and return what was written and what was not.

    Tests that failed are left out, since their runs would become what is normal; unless the mode is
    "replace", which asks for just that.

    Raises:
        BaselineError: A file cannot be used, and nothing is written; or it cannot be written, and earlier
            modules stay.
    """
    tests = [(each, test) for each in results for test in each.tests]
    refused = [refusal for _, test in tests for refusal in _left_out(test, mode)]
    stored = [(each, test) for each, test in tests if not _left_out(test, mode)]
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


def _left_out(test: TestEntry, mode: Mode) -> list[Refusal]:
    if test.run is None or not test.metrics:
        return [Refusal(test.key, "was not measured")]
    if not test.outcome:
        return [Refusal(test.key, "did not end")]
    if mode != "replace" and _fell_short(test):
        return [Refusal(test.key, "did not pass: replace its baseline if this is as it should be")]
    return []


def _fell_short(test: TestEntry) -> bool:
    """Whether a test failed for any other reason than that there is no certain answer."""
    found = {
        part.verdict
        for metric in test.metrics.values()
        for part in (metric.limit, metric.baseline, metric.comparison, metric.claim)
        if part is not None
    }
    found |= {part.verdict for part in (test.drift, test.output) if part is not None and part.verdict}
    excused = test.failed_by_verdict and bool(found & _OPEN)
    return bool(found & ALWAYS_FAILING) or (test.outcome != "passed" and not excused)


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
    return entry.baseline.verdict if entry.baseline is not None else None


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
