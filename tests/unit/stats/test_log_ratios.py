"""One log ratio a session, from the series of both."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.records import (
    Claim,
    Gate,
    Installed,
    LoadOptions,
    PairedRun,
    Run,
    Series,
    Session,
    Subject,
    Verdict,
)
from pytest_llm.records.metrics import METRICS, at_percentile
from pytest_llm.stats.log_ratios import Observations, log_ratios, observations, session_observations
from pytest_llm.stats.sequential import decide, rule_for
from pytest_llm.stats.summary import percentile
from tests.bare import RUN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records.metric import Metric

SPEED = METRICS["generation_tokens_per_second"]
LATENCY = METRICS["inter_token_latency_p50"]
MEMORY = METRICS["peak_ram"]
RULE = rule_for("normal", 1)
# Each machine's mood is in both; in the middle round, both are four times as slow.
OURS, THEIRS = (0.011, 0.044, 0.0105), (0.010, 0.040, 0.010)


def a_session(metric: Metric, values: Sequence[float]) -> Session:
    return Session({metric.series: Series(tuple(values), tokens=4)})


def ratios(
    metric: Metric, ours: Sequence[float], theirs: Sequence[float], *, together: bool = True
) -> list[float]:
    sessions = [(a_session(metric, ours), a_session(metric, theirs))]
    return session_observations(metric, sessions, together=together).typical


def a_run(metric: Metric, series: Sequence[Sequence[float] | None]) -> Run:
    sessions = tuple(Session({}) if each is None else a_session(metric, each) for each in series)
    return replace(RUN, sessions=sessions)


def test_it_is_the_median_over_rounds_of_the_log_ratio_of_times() -> None:
    # The ratios of the rounds are 1.1, 1.1 and 1.05; that of the medians would be 1.1 by another way.
    assert ratios(SPEED, OURS, THEIRS) == [pytest.approx(math.log(1.1), rel=1e-12)]
    crossed = ratios(SPEED, (0.01, 0.02, 0.04), (0.04, 0.01, 0.02))
    assert crossed == [pytest.approx(math.log(2), rel=1e-12)]


@pytest.mark.parametrize("rank", [90, 99, 5])
def test_another_percentile_is_that_of_each_side(rank: float) -> None:
    metric = at_percentile("inter_token_latency", rank)
    expected = math.log(percentile(OURS, rank) / percentile(THEIRS, rank))
    assert ratios(metric, OURS, THEIRS) == [expected]


def test_series_of_unequal_length_are_compared_by_their_medians() -> None:
    assert ratios(SPEED, (0.01, 0.02, 0.04), (0.04, 0.01)) == [math.log(0.02 / 0.025)]


def test_what_was_measured_in_turn_is_compared_by_its_medians() -> None:
    (found,) = ratios(SPEED, (0.01, 0.02, 0.04), (0.04, 0.01, 0.02), together=False)
    assert found == 0
    run = PairedRun(a_run(SPEED, [(0.01, 0.02, 0.04)]), a_run(SPEED, [(0.04, 0.01, 0.02)]))
    assert log_ratios(SPEED, run) == [pytest.approx(math.log(2))]
    assert log_ratios(SPEED, replace(run, not_interleaved=True)) == [0]


@pytest.mark.parametrize("metric", [SPEED, METRICS["total_tokens_per_second"], LATENCY, MEMORY])
def test_positive_is_worse_for_rates_latencies_and_sizes(metric: Metric) -> None:
    for together in (True, False):
        (worse,) = ratios(metric, (0.02,), (0.01,), together=together)
        (better,) = ratios(metric, (0.01,), (0.02,), together=together)
        assert worse == -better == pytest.approx(math.log(2))


def test_there_is_one_a_session_in_order() -> None:
    run = PairedRun(a_run(SPEED, [(0.01,), (0.02,), (0.03,)]), a_run(SPEED, [(0.01,)] * 3))
    assert log_ratios(SPEED, run) == [0, math.log(2), pytest.approx(math.log(3))]


@pytest.mark.parametrize("gap", [None, (), (0.0, 0.01)])
@pytest.mark.parametrize("side", [0, 1])
def test_a_session_without_the_metric_ends_the_list(gap: Sequence[float] | None, side: int) -> None:
    whole: list[Sequence[float] | None] = [(0.01, 0.02)] * 3
    broken = [whole[0], gap, whole[2]]
    ours, theirs = (broken, whole) if side == 0 else (whole, broken)
    assert log_ratios(SPEED, PairedRun(a_run(SPEED, ours), a_run(SPEED, theirs))) == [0]


def test_a_speed_is_observed_in_the_typical_slice_and_over_the_whole() -> None:
    run = PairedRun(a_run(SPEED, [(0.01, 0.01, 0.04)] * 2), a_run(SPEED, [(0.01, 0.01, 0.01)] * 2))
    found = observations(SPEED, run)
    assert found.typical == [0.0, 0.0]
    assert found.whole == pytest.approx([math.log(2)] * 2)
    assert observations(SPEED, run, 1) == tuple(each[:1] for each in found if each is not None)
    run = PairedRun(a_run(MEMORY, [(2.0,)] * 3), a_run(MEMORY, [(1.0,)] * 3))
    assert observations(MEMORY, run, 2) == Observations([math.log(2)] * 2, None)


def test_a_gate_asks_whether_it_is_slower_and_a_claim_whether_it_is_faster() -> None:
    than = Subject("m", Installed("llama-cpp-python"), LoadOptions())
    faster = [-math.log(1.3)] * 15
    slower = Observations([-each for each in faster])
    assert decide(RULE, Gate(SPEED, 0.05), Observations(faster)).verdict is Verdict.IMPROVED
    assert decide(RULE, Claim(SPEED, 0.2, than), Observations(faster)).verdict is Verdict.PASS
    assert decide(RULE, Claim(SPEED, 0.4, than), Observations(faster)).verdict is Verdict.OVER_LIMIT
    assert decide(RULE, Gate(SPEED, 0.05), slower).verdict is Verdict.REGRESSED
    assert decide(RULE, Gate(SPEED, 0.5), slower).verdict is Verdict.REGRESSED
    assert decide(RULE, Gate(SPEED, 0.05), Observations(faster[:9])).verdict is None
