"""Counts are judged exactly: any change above the tolerance is a loss or a gain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.checks import explain, notes
from pytest_llm.checks.baseline import check_stored_runs
from pytest_llm.checks.baseline import summary as checked
from pytest_llm.checks.comparison import summary
from pytest_llm.checks.counts import decide, differences
from pytest_llm.checks.family import Decisions
from pytest_llm.checks.findings import Finding
from pytest_llm.measure import plan
from pytest_llm.records import (
    ALWAYS_FAILING,
    Benchmark,
    Gate,
    PairedRun,
    Provenance,
    Run,
    Series,
    Session,
    StoredRun,
    Subject,
    TestKey,
    Verdict,
)
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.sequential import rule_for
from tests.bare import RUN, SUBJECT
from tests.comparing import compare_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records.metric import Metric

SPLITS, REUSED = METRICS["graph_splits"], METRICS["graphs_reused"]
SPEED = METRICS["generation_tokens_per_second"]
REGRESSED, IMPROVED, PASS = Verdict.REGRESSED, Verdict.IMPROVED, Verdict.PASS


def a_run(sessions: int = 1, seconds: float = 0.04, **counts: float) -> Run:
    series = {"generation": Series((seconds,), tokens=4)}
    series |= {name: Series((count,)) for name, count in counts.items()}
    return replace(RUN, sessions=(Session(series),) * sessions)


def a_pair(now: float, before: float, sessions: int = 1) -> PairedRun:
    return PairedRun(a_run(sessions, graph_splits=now), a_run(sessions, graph_splits=before))


@pytest.mark.parametrize(
    ("metric", "tolerance", "before", "now", "verdict"),
    [
        (SPLITS, 0.0, 1, 1, PASS),
        (SPLITS, 0.0, 300, 301, REGRESSED),
        (SPLITS, 0.0, 300, 299, IMPROVED),
        (REUSED, 0.0, 62, 61, REGRESSED),
        (REUSED, 0.0, 62, 63, IMPROVED),
        (REUSED, 0.0, 0, 63, IMPROVED),
        (REUSED, 0.0, 63, 0, REGRESSED),
        (SPLITS, 0.0, 0, 0, PASS),
        (SPLITS, 0.0, 0, 1, REGRESSED),
        (SPLITS, 0.01, 300, 303, PASS),
        (SPLITS, 0.01, 300, 304, REGRESSED),
        (SPLITS, 0.01, 300, 297, PASS),
        (SPLITS, 0.01, 300, 296, IMPROVED),
    ],
)
def test_a_change_above_the_tolerance_decides(
    metric: Metric, tolerance: float, before: float, now: float, verdict: Verdict
) -> None:
    assert decide(Gate(metric, tolerance), before, now).verdict is verdict


@pytest.mark.parametrize("sessions", [1, 3])
def test_a_pair_is_judged_at_once_whatever_the_number_of_sessions(sessions: int) -> None:
    found = compare_alone(a_pair(3, 1, sessions), Gate(SPLITS, 0.0), rule_for("normal", 96))
    assert (found.verdict, found.change, found.sessions) == (REGRESSED, 2.0, sessions)
    assert (found.interval, found.mde, found.p_regressed, found.log_ratios) == (None, None, None, ())


def test_a_count_that_one_side_lacks_is_not_covered() -> None:
    pair = PairedRun(a_run(graph_splits=1), a_run())
    found = compare_alone(pair, Gate(SPLITS, 0.0), rule_for("normal", 1))
    assert found.verdict is Verdict.NOT_COVERED
    assert summary(found).startswith("graph splits cannot be had")


def test_the_words_of_comparisons() -> None:
    def said(now: float, before: float, tolerance: float = 0.0) -> str:
        return summary(compare_alone(a_pair(now, before), Gate(SPLITS, tolerance), rule_for("normal", 1)))

    assert said(3, 1) == "graph splits rose from 1 to 3, +200.0 % (a count, 1 session, any loss fails)"
    assert said(3, 1, 0.005).endswith("(a count, 1 session, a loss above 0.5 % fails)")
    assert said(1, 2) == "graph splits fell from 2 to 1, −50.0 % (a count, 1 session): improved"
    assert said(2, 2) == "graph splits stayed at 2 (a count, 1 session): pass"
    assert said(1, 0) == "graph splits rose from 0 to 1 (a count, 1 session, any loss fails)"


def stored(*values: float) -> list[StoredRun]:
    return [StoredRun(each, Provenance("llama-cpp-python 0.3.35")) for each in values]


@pytest.mark.parametrize(
    ("values", "verdict", "words"),
    [
        ((1,), REGRESSED, "graph splits rose from 1 to 3, +200.0 % (a count, 1 stored run, any loss fails)"),
        ((1, 3), PASS, "graph splits stayed at 3 (a count, the newest of 2 stored runs)"),
        (
            (3, 5),
            IMPROVED,
            "graph splits fell from 5 to 3, −40.0 % (a count, the newest of 2 stored runs): better than the "
            "baseline: update it, or a later loss of that size goes unnoticed",
        ),
    ],
)
def test_a_count_is_compared_with_the_newest_stored_run(
    values: tuple[float, ...], verdict: Verdict, words: str
) -> None:
    found = check_stored_runs(a_run(graph_splits=3), Gate(SPLITS, 0.0), stored(*values), 24)
    assert (found.verdict, checked(found)) == (verdict, words)


def test_a_stored_loss_is_no_baseline_unless_there_is_no_other() -> None:
    lost = replace(stored(3)[0], verdict=REGRESSED)
    for runs, verdict in (((*stored(1), lost), REGRESSED), ((lost,), PASS)):
        assert check_stored_runs(a_run(graph_splits=3), Gate(SPLITS, 0.0), runs, 1).verdict is verdict


def test_counts_share_no_error_rate() -> None:
    def benchmark(*gates: Gate) -> Benchmark:
        return Benchmark("t", TestKey("m", "t"), SUBJECT, RUN.workload, gates=gates)

    def family(*gates: Gate) -> int:
        def reference_of(_: Subject) -> Subject:
            return SUBJECT

        return plan.make_plan([benchmark(*gates)], "normal", reference_of).family

    speeds = Gate(SPEED, 0.05), Gate(METRICS["prompt_tokens_per_second"], 0.05)
    assert family(*speeds, Gate(SPLITS, 0.0), Gate(REUSED, 0.0)) == family(*speeds) == 2


def test_a_count_that_got_worse_makes_no_other_gate_stricter() -> None:
    rule = rule_for("normal", 2)
    slower = (0.03, 0.02, 0.05, -0.01, 0.02, 0.04, 0.01, 0.03, -0.005, 0.02)

    def side(shares: Sequence[float], splits: float) -> Run:
        runs = [a_run(1, 0.04 * (1 + share), graph_splits=splits) for share in shares]
        return replace(RUN, sessions=tuple(each.sessions[0] for each in runs))

    pair, speed, count = (
        PairedRun(side(slower, 3), side([0.0] * len(slower), 1)),
        Gate(SPEED, 0.05),
        Gate(SPLITS, 0.0),
    )
    both = Decisions(rule, [(pair, count), (pair, speed)])
    assert both.of(pair, speed) == Decisions(rule, [(pair, speed)]).of(pair, speed)
    with pytest.raises(KeyError):
        both.of(pair, count)


def test_counts_that_differ_explain_a_slower_build() -> None:
    rule = rule_for("normal", 1)
    candidate = a_run(20, 0.05, graph_splits=3, graph_nodes=940, kv_cells=512)
    pair = PairedRun(candidate, a_run(20, 0.04, graph_splits=1, graph_nodes=936, kv_cells=512))
    assert differences(pair) == "counts differ: graph splits 1 → 3, graph nodes 936 → 940"
    found = compare_alone(pair, Gate(SPEED, 0.05), rule)
    assert found.verdict is REGRESSED
    benchmark = Benchmark("t", TestKey("m", "t"), SUBJECT, RUN.workload)
    finding = Finding(benchmark, candidate, comparisons=(found, found))
    assert f"  {differences(pair)}" in explain(finding, ALWAYS_FAILING).splitlines()
    assert notes(finding).count(differences(pair)) == 1


def test_counts_are_no_news_beside_a_pass_or_a_gate_of_their_own() -> None:
    for seconds, gate in ((0.04, Gate(SPEED, 0.05)), (0.05, Gate(SPLITS, 0.0))):
        pair = PairedRun(a_run(20, seconds, graph_splits=3), a_run(20, graph_splits=1))
        found = compare_alone(pair, gate, rule_for("normal", 1))
        benchmark = Benchmark("t", TestKey("m", "t"), SUBJECT, RUN.workload)
        finding = Finding(benchmark, pair.candidate, comparisons=(found,))
        assert not [line for line in notes(finding) if line.startswith("counts differ")]
    assert differences(PairedRun(a_run(graph_splits=1), a_run())) == ""
