"""Which turns of a pair count, if something disturbed them from outside."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_llm.records import PairedRun, Series, Session, Struck, Turns
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.disturbances import Strikes, dropped, strikes
from pytest_llm.stats.log_ratios import observations
from tests.bare import RUN

SPEED = METRICS["generation_tokens_per_second"]
LATENCY = METRICS["inter_token_latency_p50"]


def turns(count: int = 10, **struck: tuple[tuple[int, ...], tuple[int, ...]]) -> dict[str, Turns]:
    return {"generation": Turns("01" * (count // 2), {each: Struck(*struck[each]) for each in struck})}


@pytest.mark.parametrize(
    ("ours", "theirs", "even"),
    [(0, 0, True), (1, 0, True), (5, 0, True), (6, 0, False), (0, 6, False), (12, 4, True), (13, 4, False)],
)
def test_strikes_are_even_by_the_exact_binomial_test(ours: int, theirs: int, even: bool) -> None:
    # scipy.stats.binomtest(min, n).pvalue: 0.0625, 0.03125, 0.0768, 0.049
    assert Strikes(ours, theirs).even is even


def test_an_even_reason_drops_the_turns_of_both() -> None:
    assert dropped([turns(steal=((2,), (5,)))], "generation") == {2, 5}
    assert dropped([turns(steal=((2,), (5,)))], "prompt") == frozenset()
    assert dropped([], "prompt") == frozenset()


def test_a_reason_that_strikes_one_side_drops_nothing() -> None:
    sessions = [turns(quota=((0, 1, 2), ())), turns(quota=((0, 1, 2), ()), steal=((4,), (4,)))]
    assert dropped(sessions[:1], "generation") == {0, 1, 2}  # so few may be chance
    assert dropped(sessions, "generation") == {4}
    assert strikes(sessions) == {"quota": (6, 0), "steal": (1, 1)}


def test_if_fewer_than_half_would_be_left_all_count() -> None:
    assert len(dropped([turns(steal=((0, 1, 2), (3, 4)))], "generation")) == 5
    assert dropped([turns(steal=((0, 1, 2), (3, 4, 5)))], "generation") == frozenset()


def a_pair(*struck: dict[str, Turns]) -> PairedRun:
    ours = Session({SPEED.series: Series((0.01,) * 9 + (0.05,), 4)})
    theirs = Session({SPEED.series: Series((0.01,) * 10, 4)})
    count = len(struck)
    return PairedRun(replace(RUN, sessions=(ours,) * count), replace(RUN, sessions=(theirs,) * count), struck)


def test_a_dropped_turn_is_in_neither_observation_and_a_kept_one_in_both() -> None:
    kept = observations(SPEED, a_pair(turns()))
    assert kept.whole == pytest.approx([math.log(1.4)])
    left_out = observations(SPEED, a_pair(turns(steal=((9,), (0,)))))
    assert left_out.whole == pytest.approx([0.0], abs=1e-12)


def test_a_build_that_disturbs_itself_is_not_spared() -> None:
    itself = observations(SPEED, a_pair(*[turns(quota=((9,), ()))] * 8))
    # From the sixth session on it is clear whose doing it is; what was decided before stands.
    assert itself.whole == pytest.approx([0.0] * 5 + [math.log(1.4)] * 3, abs=1e-12)


def test_a_struck_request_takes_all_its_latencies_along() -> None:
    series = {"inter_token": Series((0.01, 0.01, 0.09, 0.09))}
    run = replace(RUN, sessions=(Session(series),))
    other = replace(RUN, sessions=(Session({"inter_token": Series((0.01,) * 4)}),))
    struck = {"request": Turns("01", {"steal": Struck((1,), ())})}
    assert observations(LATENCY, PairedRun(run, other, (struck,))).typical == [0.0]
