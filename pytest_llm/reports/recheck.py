"""Results files judged again from their series alone, by everything that reads them."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_llm.baselines import Missing
from pytest_llm.baselines.records import environment_of
from pytest_llm.checks import (
    check_stored_runs,
    compare,
    compare_runs,
    compare_sides,
    compare_with_stored,
    judge_limits,
    judge_output,
)
from pytest_llm.checks.anchored import check_ratios
from pytest_llm.checks.family import Decisions
from pytest_llm.checks.findings import Anchored, Drift, Finding, OutputJudgement, VariantFinding
from pytest_llm.checks.unmet import NO_DEVICE, unmet_of
from pytest_llm.errors import LLMBenchError, ResultsError
from pytest_llm.records import (
    Benchmark,
    Claim,
    Gate,
    Installed,
    Limit,
    OperatorRun,
    PairedRun,
    Subject,
    Verdict,
    metrics,
)
from pytest_llm.records.serialization import short
from pytest_llm.reports import results_file
from pytest_llm.reports.results import results_of
from pytest_llm.stats.summary import summarize_all
from pytest_llm.system.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.checks.findings import BaselineCheck
    from pytest_llm.records import Run
    from pytest_llm.reports.document import OperatorsEntry, Results, TestEntry
    from pytest_llm.reports.verdict_entries import DriftEntry
    from pytest_llm.stats.sequential import Rule

_SLOPES = {metric.series for metric in metrics.METRICS.values() if metric.slope}
# Far above what a run makes. The time of a verdict grows with the square of the first two, and tests may
# share the values of a run.
_MAX_SESSIONS = 250
_MAX_READINGS = 1000
_MAX_VALUES = 20_000_000


def read(path: Path) -> tuple[Results, list[str]]:
    """Return a results file, and where it says otherwise than its own series.

    Raises:
        ResultsError: It cannot be used; or its numbers are such that no verdict follows from them.
    """
    results = results_file.read(path)
    try:
        return results, differences(results)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None


def read_sound(path: Path) -> Results:
    """Read a results file and check that every value and verdict follows from its series.

    Raises:
        ResultsError: As :func:`read`, or it says otherwise.
    """
    return sound(path, *read(path))


def sound(path: Path, results: Results, wrong: Sequence[str]) -> Results:
    """Return results that :func:`read` has read; ``ResultsError`` if they say otherwise than their series."""
    if wrong:
        raise ResultsError(f"{path}: {wrong[0]}: not what its series say; see pytest-llm report {path}")
    return results


def rejudge(results: Results) -> list[Finding]:
    """Return the findings of a results file, with every metric and verdict computed anew."""
    runs = {
        name: replace(run, measurements=summarize_all(run.sessions)) for name, run in results.runs.items()
    }
    pairs = pairs_of(results, runs)
    decisions = Decisions(results.rule, asked_in(results, pairs)) if results.rule is not None else None
    return [_finding(test, runs, pairs, decisions) for test in results.tests]


def differences(results: Results) -> list[str]:
    """Return where a results file says otherwise than its own series, a line for each test and metric.

    Raises:
        ResultsError: No verdict follows from its numbers, or only after a very long time.
    """
    problem = next(_too_many(results), None)
    if problem:
        raise ResultsError(f"no results: {problem}")
    with odd_numbers("its numbers cannot be judged"):
        return _differences(results)


@contextlib.contextmanager
def odd_numbers(what: str) -> Iterator[None]:
    """Raise ``ResultsError`` for what arithmetic on a stranger's numbers may raise.

    Args:
        what: Does not work then, as a sentence.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = short(f"{type(error).__name__}: {error}")
        raise ResultsError(f"no results: {what} ({reason})") from None
    except LLMBenchError as error:
        raise ResultsError(f"no results: {what} ({short(str(error))})") from None


def _too_many(results: Results) -> Iterator[str]:
    values = {}
    for name, run in results.runs.items():
        series = [(key, each) for session in run.sessions for key, each in session.series.items()]
        if len(run.sessions) > _MAX_SESSIONS:
            yield f"$.runs.{one_line(name)}: {len(run.sessions)} sessions, more than {_MAX_SESSIONS}"
        if any(len(each.values) > _MAX_READINGS for key, each in series if key in _SLOPES):
            yield f"$.runs.{one_line(name)}: more than {_MAX_READINGS} readings of memory in a session"
        values[name] = sum(len(each.values) + 1 for _, each in series)
    for test in results.tests:
        repeated = [len(times.candidate) for each in test.operators for times in each.times]
        if max(repeated, default=0) > _MAX_SESSIONS:
            yield f"{one_line(test.nodeid)}: operators are repeated more than {_MAX_SESSIONS} times"
    asked = 0
    for test in results.tests:
        asked += values.get(test.run or "", 0)
        for entry in test.metrics.values():
            for each in entry.pairs:
                pair = results.pairs.get(each)
                asked += values[pair.candidate] + values[pair.reference] if pair is not None else 0
    if asked > _MAX_VALUES:
        yield f"its tests ask for {asked} values, more than {_MAX_VALUES}"


def _differences(results: Results) -> list[str]:
    when = datetime.now(timezone.utc)  # of no consequence
    again = results_of(rejudge(results), when, when, results.machine)
    return [
        f"{test.nodeid}: {name}"
        for test, anew in zip(results.tests, again.tests, strict=True)
        for name in [
            *sorted(
                name
                for name in {*test.metrics, *anew.metrics}
                if test.metrics.get(name) != anew.metrics.get(name)
            ),
            *(["drift"] if _unpaired(test.drift) != _unpaired(anew.drift) else []),
            *(["unmet"] if test.unmet != anew.unmet else []),
            *(["output"] if test.output != anew.output else []),
            *(["operators"] if test.operators != anew.operators else []),
        ]
    ]


def pairs_of(results: Results, runs: Mapping[str, Run]) -> dict[str, PairedRun]:
    """Return the pairs of a results file by name, made of the runs given."""
    return {
        name: PairedRun(
            **{**vars(pair), "candidate": runs[pair.candidate], "reference": runs[pair.reference]}
        )
        for name, pair in results.pairs.items()
    }


def limits_of(test: TestEntry) -> list[Limit]:
    """Return the limits of a test."""
    return [
        Limit(metrics.find(name), entry.limit.bound)
        for name, entry in test.metrics.items()
        if entry.limit is not None
    ]


def baseline_checks_of(
    test: TestEntry, run: Run, pairs: Mapping[str, PairedRun], rule: Rule
) -> list[BaselineCheck]:
    """Judge the gates of a test by the stored runs, or ratios to an anchor, that decided them."""
    found = []
    for name, entry in test.metrics.items():
        was = entry.baseline
        if was is None:
            continue
        gate = Gate(metrics.find(name), was.tolerance, was.negligible_asked)
        missing = Missing(was.reason, unrecorded=was.verdict is Verdict.UNRECORDED)
        if was.anchored is None:
            check = check_stored_runs(run, gate, was.runs, rule.family, missing, was.left_out, rule.tau)
        else:
            beside = was.anchored
            anchored = Anchored(pairs[beside.pair], spread=beside.spread, whole_spread=beside.whole_spread)
            check = check_ratios(anchored, gate, was.runs, rule.family, missing, was.left_out)
        found.append(check)
    return found


def asked_in(results: Results, pairs: Mapping[str, PairedRun]) -> list[tuple[PairedRun, Gate | Claim]]:
    """Return every gate and claim that pairs answer, each with its pair."""
    found: list[tuple[PairedRun, Gate | Claim]] = []
    for each in results.questions:
        pair, metric = pairs[each.pair], metrics.find(each.metric)
        if each.tolerance is not None:
            found.append((pair, Gate(metric, each.tolerance, each.negligible)))
        if each.by is not None:
            found.append((pair, Claim(metric, each.by, pair.reference.subject)))
    return found


def questions_of(test: TestEntry, pairs: Mapping[str, PairedRun]) -> list[tuple[Gate | Claim, PairedRun]]:
    """Return the gates and claims of a test that pairs decided, each with its pair."""
    found: list[tuple[Gate | Claim, PairedRun]] = []
    for name, entry in test.metrics.items():
        metric = metrics.find(name)
        if entry.comparison is not None:
            was = entry.comparison
            found.append((Gate(metric, was.tolerance, was.negligible_asked), pairs[was.pair]))
        if entry.claim is not None:
            pair = pairs[entry.claim.pair]
            found.append((Claim(metric, entry.claim.by, pair.reference.subject), pair))
    return found


def _finding(
    test: TestEntry, runs: Mapping[str, Run], pairs: Mapping[str, PairedRun], decisions: Decisions | None
) -> Finding:
    run = runs[test.run] if test.run is not None else None
    subject = run.subject if run else Subject("", Installed(""), test.load_options)
    benchmark = Benchmark(test.nodeid, test.key, subject, test.workload)
    if run is None or decisions is None:
        return Finding(
            benchmark,
            run,
            problem="; ".join(test.notes),
            outcome=test.outcome,
            failed_by_verdict=test.failed_by_verdict,
        )
    questions = questions_of(test, pairs)
    paired = pairs[test.drift.pair] if test.drift and test.drift.pair is not None else None
    claims = [pair for asked, pair in questions if isinstance(asked, Claim)]
    beside = [each.baseline.anchored for each in test.metrics.values() if each.baseline is not None]
    anchored = next((pairs[each.pair] for each in beside if each is not None), None)
    wants_device = any(each.expected == NO_DEVICE for each in test.unmet)
    return Finding(
        benchmark,
        run,
        unmet=unmet_of(paired or anchored or run, claims, wants_device=wants_device) if run.sessions else (),
        judgements=tuple(judge_limits(run, limits_of(test))),
        baseline_checks=tuple(baseline_checks_of(test, run, pairs, decisions.rule)),
        comparisons=tuple(compare_runs(pair, asked, decisions) for asked, pair in questions),
        drift=_drift(test.drift, run, pairs) if test.drift else None,
        output=_output(test.output) if test.output else None,
        operators=tuple(_operators(each) for each in test.operators),
        outcome=test.outcome,
        failed_by_verdict=test.failed_by_verdict,
        variant=_variant(test, pairs, decisions),
        inside=pairs[test.inside] if test.inside is not None else None,
    )


def _variant(test: TestEntry, pairs: Mapping[str, PairedRun], decisions: Decisions) -> VariantFinding | None:
    was = test.variant
    if was is None:
        return None
    told = [
        compare_runs(
            pairs[entry.variant.pair],
            Gate(metrics.find(name), entry.variant.tolerance, entry.variant.negligible_asked),
            decisions,
        )
        for name, entry in test.metrics.items()
        if entry.variant is not None
    ]
    return VariantFinding(was.label, was.against, tuple(told), was.output, was.note)


def _output(was: OutputJudgement) -> OutputJudgement:
    found = was.comparison
    if found is None:
        return was
    if was.snapshot is not None:
        compared = compare_with_stored(was.snapshot, was.stored, found.missing)
        found = replace(compared, unrecorded=found.unrecorded)
    return judge_output(was.gate, found, was.snapshot, was.stored)


def _drift(was: DriftEntry, run: Run, pairs: Mapping[str, PairedRun]) -> Drift:
    if was.pair is not None:
        return compare_sides(pairs[was.pair])
    if was.stored is None:
        return Drift(reason=was.reason)
    return compare(was.stored, run.invariants, environment_of(run))


def _operators(was: OperatorsEntry) -> OperatorRun:
    return OperatorRun(**{name: value for name, value in vars(was).items() if name != "found"})


def _unpaired(drift: DriftEntry | None) -> DriftEntry | None:
    return drift and replace(drift, pair=None)  # the pair's name is no finding
