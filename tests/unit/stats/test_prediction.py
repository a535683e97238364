"""Stored runs as a screen: the rule, its error rates, and what it refuses to say."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_llm.records import Verdict
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.prediction import ALPHA, LEAST_RUNS, Spread, lasting_change, predict, screen, spread_of

SPEED = METRICS["generation_tokens_per_second"]
LATENCY = METRICS["first_token_latency"]
QUIET = [100.0, 101.0, 99.0, 100.5, 99.5]

runs = st.lists(st.floats(50, 200), min_size=LEAST_RUNS, max_size=20)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (100.0, Verdict.PASS),
        (99.0, Verdict.PASS),
        (80.0, Verdict.REGRESSED),
        (125.0, Verdict.IMPROVED),
        (97.0, Verdict.INCONCLUSIVE),
    ],
)
def test_a_quiet_machine_tells_losses_gains_and_neither(value: float, verdict: Verdict) -> None:
    assert screen(SPEED, QUIET, value, 0.05).verdict is verdict


def test_a_rate_that_falls_and_a_latency_that_rises_are_both_worse() -> None:
    speed = screen(SPEED, QUIET, 50.0, 0.05)
    latency = screen(LATENCY, QUIET, 200.0, 0.05)
    assert speed.verdict is latency.verdict is Verdict.REGRESSED
    assert speed.change == pytest.approx(-0.5, abs=0.01)
    assert latency.change == pytest.approx(1.0, abs=0.02)


@given(runs, st.floats(50, 200), st.floats(0.01, 0.5), st.integers(1, 24))
def test_the_verdict_is_that_of_a_prediction_from_a_normal_sample(
    stored: list[float], value: float, tolerance: float, family: int
) -> None:
    found = screen(LATENCY, stored, value, tolerance, family)
    times = [math.log(each) for each in stored]
    mean, sd = statistics.fmean(times), statistics.stdev(times)
    if sd < 1e-6:
        return
    error = sd * math.sqrt(1 + 1 / len(times))
    student = stats.t(len(times) - 1)
    worse, margin = math.log(value) - mean, math.log(1 + tolerance)
    if (worse - margin / 5) / error > student.ppf(1 - 0.01 / family):
        expected = Verdict.REGRESSED
    elif (-worse - margin / 5) / error > student.ppf(1 - 0.01 / family):
        expected = Verdict.IMPROVED
    elif worse + error * student.ppf(0.95) < margin:
        expected = Verdict.PASS
    else:
        expected = Verdict.INCONCLUSIVE
    assert found.verdict is expected
    assert found.interval is not None
    assert found.interval[0] <= found.change <= found.interval[1]


@given(runs, st.floats(50, 200), st.floats(0.1, 10))
def test_the_unit_of_time_does_not_matter(stored: list[float], value: float, scale: float) -> None:
    plain = screen(LATENCY, stored, value, 0.05)
    scaled = screen(LATENCY, [each * scale for each in stored], value * scale, 0.05)
    assert scaled.change == pytest.approx(plain.change, abs=1e-9)


def test_runs_without_any_spread_are_judged_by_size_alone() -> None:
    same = [100.0] * 5
    assert screen(LATENCY, same, 100.0, 0.05).verdict is Verdict.PASS
    assert screen(LATENCY, same, 100.9, 0.05).verdict is Verdict.PASS
    assert screen(LATENCY, same, 101.1, 0.05).verdict is Verdict.REGRESSED
    assert screen(LATENCY, same, 98.0, 0.05).verdict is Verdict.IMPROVED


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_too_few_runs_are_inconclusive_and_say_how_many(count: int) -> None:
    found = screen(SPEED, QUIET[:count], 1.0, 0.05)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason == f"{count} of 5 runs"
    assert found.interval is None


def test_two_runs_far_apart_have_no_interval_of_billions_of_percent() -> None:
    found = screen(SPEED, [1.0, 100.0], 50.0, 0.05)
    assert found.interval is None
    assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("spread", [0.01, 0.09])
def test_false_alarms_stay_within_alpha_and_gross_losses_are_called(spread: float) -> None:
    source = random.Random(7)

    def run(effect: float = 0.0) -> float:
        return math.exp(source.gauss(effect, spread))

    count = 4000
    nothing = [screen(LATENCY, [run() for _ in range(10)], run(), 0.05) for _ in range(count)]
    assert sum(each.verdict is Verdict.REGRESSED for each in nothing) / count < 0.013
    assert sum(each.verdict is Verdict.IMPROVED for each in nothing) / count < 0.013
    fourfold = [screen(LATENCY, [run() for _ in range(10)], run(math.log(4)), 0.05) for _ in range(200)]
    assert all(each.verdict is Verdict.REGRESSED for each in fourfold)


def test_the_loss_from_which_on_it_calls_is_where_the_verdict_changes() -> None:
    found = screen(LATENCY, QUIET, 100.0, 0.05)
    assert found.calls_from is not None
    centre = found.value
    assert screen(LATENCY, QUIET, centre * (1 + found.calls_from * 1.001), 0.05).verdict is Verdict.REGRESSED
    assert (
        screen(LATENCY, QUIET, centre * (1 + found.calls_from * 0.999), 0.05).verdict is not Verdict.REGRESSED
    )


def test_what_is_too_small_to_matter_can_be_given() -> None:
    own = screen(LATENCY, QUIET, 100.0, 0.05, negligible=math.log1p(0.05) / 5)
    assert own == screen(LATENCY, QUIET, 100.0, 0.05)
    larger = screen(LATENCY, QUIET, 100.0, 0.05, negligible=0.02)
    assert larger.calls_from is not None
    assert own.calls_from is not None
    difference = math.log1p(larger.calls_from) - math.log1p(own.calls_from)
    assert difference == pytest.approx(0.02 - math.log(1.05) / 5)


def test_a_spread_of_others_judges_a_gate_with_a_single_stored_run() -> None:
    spread = Spread(0.0066, 100)
    assert predict([0.0], 0.05, 0.05, spread, alpha=ALPHA).verdict is Verdict.REGRESSED
    assert predict([0.0], 0.0, 0.05, spread, alpha=ALPHA).verdict is Verdict.PASS
    few = predict([0.0], 0.05, 0.05, Spread(0.0066, LEAST_RUNS - 2), alpha=ALPHA)
    assert (few.verdict, few.reach, few.calls_from) == (Verdict.INCONCLUSIVE, None, None)
    assert predict([0.0], 0.05, 0.05, None, alpha=ALPHA) == few


def test_an_error_that_stored_runs_have_in_common_widens_the_interval() -> None:
    spread = Spread(0.01, 100)
    plain, wider = (predict([0.0] * 10, 0.0, 0.05, spread, alpha=ALPHA, shared=each) for each in (0, 0.25))
    assert plain.reach is not None
    assert wider.reach is not None
    assert wider.reach / plain.reach == pytest.approx(math.sqrt(1.35 / 1.1))


def test_a_lasting_change_of_the_last_five_is_found_and_chance_is_not() -> None:
    source = random.Random(3)
    noise = [source.gauss(0, 0.01) for _ in range(20)]
    found = lasting_change([*noise[:15], *(each - 0.05 for each in noise[15:])])
    assert found == pytest.approx(-0.05, abs=0.015)
    assert lasting_change(noise[:14]) is None
    runs = [[source.gauss(0, 0.01) for _ in range(20)] for _ in range(2000)]
    assert sum(lasting_change(each) is not None for each in runs) / len(runs) < 0.004


def test_groups_of_one_have_no_spread() -> None:
    assert spread_of([]) is spread_of([[1.0], []]) is None
    assert spread_of([[1.0], [0.0, 0.0]]) == Spread(0.0, 1)
