"""From findings to results, the one record that every report is made from."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_llm import __version__
from pytest_llm.checks import explain, notes
from pytest_llm.checks import failing as fails
from pytest_llm.engines import ENGINES
from pytest_llm.records import Gate, Verdict
from pytest_llm.reports.document import (
    VERSION,
    NotCovered,
    OperatorEntry,
    OperatorsEntry,
    PairEntry,
    QuestionEntry,
    Results,
    TestEntry,
    VariantEntry,
)
from pytest_llm.reports.verdict_entries import (
    AnchoredEntry,
    BaselineEntry,
    ClaimEntry,
    ComparisonEntry,
    DriftEntry,
    LimitEntry,
    MetricEntry,
)
from pytest_llm.stats.operators import operator_changes
from pytest_llm.stats.summary import is_noisy, range_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pytest_llm.checks.findings import (
        BaselineCheck,
        Comparison,
        Drift,
        Finding,
        VariantFinding,
    )
    from pytest_llm.records import Claim, Measurement, OperatorRun, PairedRun, Run
    from pytest_llm.reports.document import Machine
    from pytest_llm.stats.sequential import Rule

Named = TypeVar("Named")


def results_of(
    findings: Sequence[Finding],
    started: datetime,
    ended: datetime,
    machine: Machine,
    rule: Rule | None = None,
    *,
    questions: Sequence[tuple[PairedRun, Gate | Claim]] = (),
    failing: Collection[Verdict] = (),
    finished: bool = True,
) -> Results:
    """Return the results of a run of pytest.

    Args:
        findings: One for each benchmark, in the order in which they ran.
        started: With its zone.
        ended: With its zone.
        machine: Where everything was measured.
        rule: Error rates, and how many gates share them.
        questions: Those that pairs were measured for: they were decided together.
        failing: The verdicts that fail a test.
        finished: No further test runs.
    """
    asked = [pair for pair, _ in questions]
    of_tests = [run for each in findings for run in _runs(each)]
    runs = _Named("run", [*of_tests, *(run for each in asked for run in (each.candidate, each.reference))])
    pairs = _Named("pair", [*(pair for finding in findings for pair in _pairs(finding)), *asked])
    compared_with = [each.run for finding in findings for each in finding.comparisons]
    references = [pair.reference.build for pair in compared_with if _other_build(pair)]
    compared = [each.output.comparison for each in findings if each.output]
    references += [each.reference for each in compared if each is not None and each.reference is not None]
    return Results(
        schema_version=VERSION,
        plugin_version=__version__,
        started=started.isoformat(timespec="seconds"),
        duration_s=(ended - started).total_seconds(),
        finished=finished,
        machine=machine,
        candidate=next((run.build for run in runs.values()), None),
        reference=next(iter(references), None),
        rule=rule,
        tests=tuple(
            _test(each, runs, pairs, _message(each, failing, qualified=bool(machine.qualified)))
            for each in findings
        ),
        runs=runs,
        pairs={name: _pair(pair, runs) for name, pair in pairs.items()},
        not_covered=tuple(
            NotCovered(finding.benchmark.nodeid, metric, reason)
            for finding in findings
            for metric, reason in _not_covered(finding).items()
        ),
        questions=tuple(_question(asked, pairs.name_of(pair)) for pair, asked in questions),
        failing=tuple(each for each in Verdict if each in failing),
    )


def _message(finding: Finding, failing: Collection[Verdict], *, qualified: bool) -> tuple[str, ...]:
    if finding.run is None or not fails(finding, failing):
        return ()
    return tuple(explain(finding, failing, qualified=qualified).splitlines())


def _question(asked: Gate | Claim, pair: str) -> QuestionEntry:
    if isinstance(asked, Gate):
        return QuestionEntry(pair, asked.metric.name, asked.tolerance, asked.negligible, None)
    return QuestionEntry(pair, asked.metric.name, None, None, asked.by)


def operators_entry(run: OperatorRun) -> OperatorsEntry:
    """Return what was measured of operators, and what follows from it."""
    found = tuple(
        OperatorEntry(str(each.case), each.change, each.interval, each.share, each.differs)
        for each in operator_changes(run)
    )
    return OperatorsEntry(**vars(run), found=found)


def _runs(finding: Finding) -> list[Run]:
    own = [finding.run] if finding.run is not None else []
    return own + [run for pair in _pairs(finding) for run in (pair.candidate, pair.reference)]


def _pairs(finding: Finding) -> list[PairedRun]:
    anchored = [each.anchored.run for each in finding.baseline_checks if each.anchored is not None]
    told = finding.variant.comparisons if finding.variant is not None else ()
    inside = [finding.inside] if finding.inside is not None else []
    return [*(each.run for each in (*finding.comparisons, *told)), *anchored, *inside]


def _other_build(pair: PairedRun) -> bool:
    return pair.candidate.subject.load_options == pair.reference.subject.load_options


class _Named(dict[str, Named]):
    """Each object once, by a name; and its name."""

    def __init__(self, kind: str, values: Sequence[Named]) -> None:
        once = {id(value): value for value in values}
        super().__init__({f"{kind}-{number}": value for number, value in enumerate(once.values(), 1)})
        self._names = {id(value): name for name, value in self.items()}

    def name_of(self, value: Named) -> str:
        return self._names[id(value)]


def _not_covered(finding: Finding) -> dict[str, str]:
    reasons = {each.limit.metric.name: each.reason for each in finding.judgements if not each.measurement}
    reasons |= {
        each.gate.metric.name: each.reason for each in finding.baseline_checks if not each.measurement
    }
    found = finding.output.comparison if finding.output is not None else None
    if found is not None and found.not_covered:
        reasons["output"] = found.not_covered
    run = finding.run
    engine = ENGINES.get(run.build.engine) if run is not None and run.sessions else None
    if engine is not None and engine.unchecked:
        reasons["finite_output"] = engine.unchecked
    told = finding.variant.comparisons if finding.variant is not None else ()
    return reasons | {
        each.asked.metric.name: each.reason for each in (*finding.comparisons, *told) if not each.candidate
    }


def _test(
    finding: Finding, runs: _Named[Run], pairs: _Named[PairedRun], message: tuple[str, ...]
) -> TestEntry:
    benchmark, run = finding.benchmark, finding.run
    outcome: Any = finding.outcome
    memory: Any = run.effective_options.get("memory") if run else None
    return TestEntry(
        nodeid=benchmark.nodeid,
        key=benchmark.key,
        outcome=outcome,
        failed_by_verdict=finding.failed_by_verdict,
        model=run.model if run else None,
        load_options=benchmark.subject.load_options,
        effective_options=run.effective_options if run else None,
        workload=benchmark.workload,
        run=runs.name_of(run) if run else None,
        metrics=_metrics(run, finding, pairs) if run else {},
        drift=_drift(finding.drift, _reference_of(finding), pairs) if finding.drift else None,
        output=finding.output,
        operators=tuple(operators_entry(each) for each in finding.operators),
        memory=memory,
        notes=tuple(notes(finding)),
        home=benchmark.home,
        unmet=finding.unmet,
        message=message,
        file=benchmark.file,
        line=benchmark.line,
        variant=_variant(finding.variant) if finding.variant is not None else None,
        inside=pairs.name_of(finding.inside) if finding.inside is not None else None,
    )


def _variant(found: VariantFinding) -> VariantEntry:
    return VariantEntry(found.label, found.against, found.output, found.note)


def _reference_of(finding: Finding) -> PairedRun | None:
    if finding.baseline_checks:  # a pair that confirms them decides nothing else
        return None
    return next((each.run for each in finding.comparisons if isinstance(each.asked, Gate)), None)


def _drift(drift: Drift, pair: PairedRun | None, pairs: _Named[PairedRun]) -> DriftEntry:
    return DriftEntry(
        verdict=drift.verdict,
        differences=drift.differences,
        reason=drift.reason,
        pair=pairs.name_of(pair) if pair else None,
        stored=drift.stored,
    )


def _metrics(run: Run, finding: Finding, pairs: _Named[PairedRun]) -> dict[str, MetricEntry]:
    # A percentile that only a marker asks for is not among the run's own metrics.
    measured = dict(run.measurements)
    verdicts: dict[str, dict[str, Any]] = defaultdict(dict)
    for judgement in finding.judgements:
        if judgement.measurement is not None:
            name = judgement.limit.metric.name
            measured.setdefault(name, judgement.measurement)
            verdicts[name]["limit"] = LimitEntry(judgement.limit.bound, judgement.verdict, judgement.interval)
    for check in finding.baseline_checks:
        if check.measurement is not None:
            name = check.gate.metric.name
            measured.setdefault(name, check.measurement)
            verdicts[name]["baseline"] = _baseline(check, pairs)
    for comparison in finding.comparisons:
        if comparison.candidate is not None:
            name = comparison.asked.metric.name
            measured.setdefault(name, comparison.candidate)
            kind = "comparison" if isinstance(comparison.asked, Gate) else "claim"
            verdicts[name][kind] = _comparison(comparison, pairs)
    for comparison in finding.variant.comparisons if finding.variant is not None else ():
        if comparison.candidate is not None:
            name = comparison.asked.metric.name
            measured.setdefault(name, comparison.candidate)
            verdicts[name]["variant"] = _comparison(comparison, pairs)
    return {name: _metric(each, verdicts[name]) for name, each in measured.items()}


def _metric(measurement: Measurement, verdicts: Mapping[str, Any]) -> MetricEntry:
    metric = measurement.metric
    low, high = range_of(measurement)
    return MetricEntry(
        value=measurement.value,
        unit=metric.unit.base,
        better=metric.better,
        series=metric.series,
        percentile=metric.percentile,
        pooled=metric.pooled,
        samples=measurement.samples,
        low=low,
        high=high,
        noisy=is_noisy(measurement),
        **verdicts,
    )


def _baseline(check: BaselineCheck, pairs: _Named[PairedRun]) -> BaselineEntry:
    anchored = check.anchored
    return BaselineEntry(
        verdict=check.verdict,
        tolerance=check.gate.tolerance,
        negligible_asked=check.gate.negligible,
        runs=check.stored,
        value=check.value,
        change=check.change,
        interval=check.interval,
        reason=check.reason,
        left_out=check.left_out,
        calls_from=check.calls_from,
        anchored=None
        if anchored is None
        else AnchoredEntry(
            pairs.name_of(anchored.run),
            anchored.ratio,
            anchored.whole,
            anchored.spread,
            anchored.whole_spread,
            anchored.decided_by,
        ),
    )


def _comparison(comparison: Comparison, pairs: _Named[PairedRun]) -> ComparisonEntry | ClaimEntry:
    asked, reference, run = comparison.asked, comparison.reference, comparison.run
    assert reference is not None
    shown: dict[str, Any] = {
        "verdict": comparison.verdict,
        "pair": pairs.name_of(run),
        "reference_value": reference.value,
        "reference_samples": reference.samples,
        "log_ratios": comparison.log_ratios,
        "whole_log_ratios": comparison.whole_log_ratios,
        "rounds": tuple(
            len(each.series[asked.metric.series].values)
            for each in run.candidate.sessions
            if asked.metric.series in each.series  # of some, one session has all that there is
        ),
        "sessions": comparison.sessions,
        "observation": comparison.observation,
        "change": comparison.change,
        "interval": comparison.interval,
        "bound": comparison.bound,
        "p_regressed": comparison.p_regressed,
        "p_improved": comparison.p_improved,
        "p_ok": comparison.p_ok,
        "mde": comparison.mde,
        "reason": comparison.reason,
    }
    if isinstance(asked, Gate):
        return ComparisonEntry(
            **shown,
            tolerance=asked.tolerance,
            negligible=comparison.negligible,
            negligible_asked=asked.negligible,
        )
    assert comparison.drift is not None, "a claim has its own"
    return ClaimEntry(**shown, by=asked.by, drift=_drift(comparison.drift, run, pairs))


def _pair(pair: PairedRun, runs: _Named[Run]) -> PairEntry:
    return PairEntry(
        runs.name_of(pair.candidate),
        runs.name_of(pair.reference),
        pair.turns,
        pair.not_interleaved,
        pair.cut_off,
        pair.campaign,
    )
