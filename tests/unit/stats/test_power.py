"""The loss that sessions would have called."""

from __future__ import annotations

import math
import random

import pytest

from pytest_llm.records import Gate, Verdict
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.estimates import change_of, estimate, interval_of
from pytest_llm.stats.log_ratios import Observations
from pytest_llm.stats.power import minimum_detectable_effect
from pytest_llm.stats.sequential import decide, negligible_of, rule_for
from pytest_llm.stats.signed_rank import hodges_lehmann, interval, p_value, upper_bound, walsh_averages

SPEED = METRICS["generation_tokens_per_second"]
LATENCY = METRICS["first_token_latency"]
GATE = Gate(SPEED, 0.05)
RULE = rule_for("normal", 2)
NEGLIGIBLE = negligible_of(GATE, RULE.tau)
# Ten sessions of a machine whose log ratios scatter by about 1 %.
QUIET = [0.011, -0.008, 0.006, -0.014, 0.002, 0.009, -0.003, -0.010, 0.005, -0.001]
LEVEL = RULE.level(1) / 2


@pytest.mark.parametrize(("effort", "family", "look"), [("normal", 2, 1), ("normal", 2, 3), ("quick", 1, 0)])
def test_the_mde_is_called_in_95_percent_of_runs(effort: str, family: int, look: int) -> None:
    rule = rule_for(effort, family)
    sessions, level = rule.looks[look], rule.level(look) / family
    source = random.Random(11)
    runs = 2000
    called = 0
    for _ in range(runs):
        seen = [source.gauss(0, 0.02) for _ in range(sessions)]
        mde = minimum_detectable_effect(seen, NEGLIGIBLE, level)
        assert mde is not None
        slower = [source.gauss(math.log1p(mde) - NEGLIGIBLE, 0.02) for _ in range(sessions)]
        called += p_value(slower) <= level
    assert called / runs == pytest.approx(0.95, abs=0.015)


def test_the_mde_beside_a_pass_is_called_in_no_fewer_than_95_percent_of_runs() -> None:
    source = random.Random(12)
    called, runs = 0, 0
    for _ in range(600):
        seen = [source.gauss(0, 0.03) for _ in range(20)]
        decision = decide(RULE, GATE, Observations(seen))
        mde = estimate(RULE, GATE, decision).mde
        if decision.verdict is Verdict.PASS and mde is not None:
            assert decision.look is not None
            slower = [source.gauss(math.log1p(mde) - NEGLIGIBLE, 0.03) for _ in range(decision.sessions)]
            called += p_value(slower) <= RULE.level(decision.look) / 2
            runs += 1
    assert runs > 100
    assert called / runs >= 0.95


def test_the_mde_grows_with_the_spread_and_shrinks_with_sessions() -> None:
    first = minimum_detectable_effect(QUIET, NEGLIGIBLE, LEVEL)
    rough = minimum_detectable_effect([10 * each for each in QUIET], NEGLIGIBLE, LEVEL)
    last = minimum_detectable_effect(QUIET * 2, NEGLIGIBLE, RULE.level(3) / 2)
    assert first is not None
    assert rough is not None
    assert last is not None
    assert math.expm1(NEGLIGIBLE) < last < first < rough
    assert math.log1p(rough) - NEGLIGIBLE == pytest.approx(10 * (math.log1p(first) - NEGLIGIBLE))


def test_the_mde_of_the_same_sessions_is_the_same_in_every_run() -> None:
    found = minimum_detectable_effect(QUIET, NEGLIGIBLE, 0.0015)
    assert found == pytest.approx(0.03690687914047295, rel=1e-12)


def test_a_test_that_can_never_reject_has_no_mde() -> None:
    assert minimum_detectable_effect(QUIET[:9], NEGLIGIBLE, 0.0015) is None
    six = decide(RULE, GATE, Observations([each / 10 for each in QUIET]))
    assert six.verdict is Verdict.PASS
    assert estimate(RULE, GATE, six).mde is None  # no loss is called after 6 sessions


def test_an_estimate_is_that_of_the_observation_that_decided() -> None:
    slower = [each + 0.05 for each in QUIET]
    found = estimate(RULE, GATE, decide(RULE, GATE, Observations(slower, slower)))
    assert found.change == change_of(SPEED, hodges_lehmann(slower))
    ends = interval(slower, 0.99)
    assert ends is not None
    assert found.interval == interval_of(SPEED, ends)


def test_a_pass_is_bounded_by_what_its_test_rules_out_and_a_regression_by_what_it_shows() -> None:
    passed = estimate(RULE, GATE, decide(RULE, GATE, Observations(QUIET)))
    assert passed.bound == math.expm1(max(QUIET[:6]))  # p = 2^-6: all of six below it
    assert passed.interval is None
    slower = [each + 0.05 for each in QUIET]
    called = estimate(RULE, GATE, decide(RULE, GATE, Observations(slower)))
    assert called.bound is not None
    assert called.bound == pytest.approx(math.expm1(min(slower)))
    assert math.expm1(NEGLIGIBLE) < called.bound < 0.05


def test_below_the_upper_bound_the_test_rejects_and_at_it_no_more() -> None:
    bound = upper_bound(QUIET, 0.05)
    assert bound in walsh_averages(QUIET)
    assert bound is not None
    assert (
        p_value([bound + 1e-9 - each for each in QUIET])
        <= 0.05
        < p_value([bound - 1e-9 - each for each in QUIET])
    )
    assert upper_bound(QUIET[:4], 0.05) is None


def test_a_change_is_told_as_the_change_of_the_metric() -> None:
    assert change_of(SPEED, math.log(2)) == pytest.approx(-0.5)
    assert change_of(LATENCY, math.log(2)) == pytest.approx(1.0)
    assert interval_of(SPEED, (math.log(1.25), math.log(2))) == pytest.approx((-0.5, -0.2))
    assert interval_of(LATENCY, (math.log(1.25), math.log(2))) == pytest.approx((0.25, 1.0))
