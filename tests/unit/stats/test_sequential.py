"""The paired rule: looks, order of verdicts, thresholds, replay, and what a decision tells."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.records import Verdict
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.power import minimum_detectable_effect
from pytest_llm.stats.sequential import (
    Decision,
    Rule,
    change_of,
    conclude,
    decide,
    decide_faster,
    interval_of,
    rule_for,
)
from pytest_llm.stats.signed_rank import hodges_lehmann, interval, p_value

if TYPE_CHECKING:
    from collections.abc import Sequence

SPEED = METRICS["generation_tokens_per_second"]
LATENCY = METRICS["first_token_latency"]
RULE = rule_for("normal", 2)
TOLERANCE = 0.05
MARGIN = math.log1p(TOLERANCE)
NEGLIGIBLE = MARGIN / 5
# Ten sessions of a machine whose log ratios scatter by about 1 %.
QUIET = [0.011, -0.008, 0.006, -0.014, 0.002, 0.009, -0.003, -0.010, 0.005, -0.001]
ROUGH = [10 * each for each in QUIET]

one_look = st.builds(
    lambda alpha, sessions: Rule(alpha, 0.05, (1.0,), (sessions,), 1),
    st.floats(0.01, 0.2),
    st.integers(5, 12),
)
log_ratios = st.lists(st.floats(-0.2, 0.2), min_size=12, max_size=40)


def shifted(values: list[float], by: float) -> list[float]:
    return [value + by for value in values]


@pytest.mark.parametrize(
    ("effort", "family", "looks"),
    [
        ("normal", 1, (10, 15, 20)),
        ("normal", 3, (10, 15, 20)),  # log2(3 / 0.003) is just under 10
        ("normal", 4, (11, 17, 22)),
        ("normal", 24, (13, 20, 26)),
        ("thorough", 1, (20, 30, 40)),
        ("thorough", 24, (26, 39, 52)),
        ("quick", 1, (6,)),
        ("quick", 3, (6,)),
        ("quick", 4, (7,)),
        ("quick", 24, (9,)),
    ],
)
def test_the_looks_grow_with_the_family(effort: str, family: int, looks: tuple[int, ...]) -> None:
    rule = rule_for(effort, family)
    assert rule.looks == looks
    assert (rule.alpha, rule.weights) == ((0.05, (1.0,)) if effort == "quick" else (0.01, (0.3, 0.3, 0.4)))
    assert (rule.beta, rule.family) == (0.05, family)


@pytest.mark.parametrize("effort", ["quick", "normal", "thorough"])
@pytest.mark.parametrize(
    "families",
    [
        pytest.param((1, 2, 3, 10, 100, 300), id="some"),
        pytest.param(range(1, 301), id="all", marks=pytest.mark.slow),
    ],
)
def test_a_sample_wholly_on_one_side_can_be_called_at_the_first_look_of_any_family(
    effort: str, families: Sequence[int]
) -> None:
    for family in families:
        rule = rule_for(effort, family)
        assert math.fsum(rule.weights) == 1
        assert decide(rule, [1.0] * rule.looks[0], TOLERANCE).verdict is Verdict.REGRESSED


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (QUIET, Verdict.PASS),
        (shifted(QUIET, 0.05), Verdict.REGRESSED),
        (shifted(QUIET, -0.05), Verdict.IMPROVED),
        (shifted(QUIET, 0.02), None),
        (ROUGH, None),
    ],
)
def test_a_quiet_machine_tells_losses_gains_and_neither_at_the_first_look(
    values: list[float], verdict: Verdict | None
) -> None:
    found = decide(RULE, values, TOLERANCE)
    assert found.verdict is verdict
    assert (found.look, found.sessions) == (0, 10)


def test_a_decision_tells_what_it_rests_on() -> None:
    values = shifted(QUIET, 0.05)
    assert decide(RULE, values, TOLERANCE) == Decision(
        verdict=Verdict.REGRESSED,
        look=0,
        sessions=10,
        change=hodges_lehmann(values),
        interval=interval(values, 0.99),
        p_regressed=p_value([value - NEGLIGIBLE for value in values]),
        p_improved=p_value([-value - NEGLIGIBLE for value in values]),
        p_ok=p_value([MARGIN - value for value in values]),
        mde=pytest.approx(minimum_detectable_effect(values, NEGLIGIBLE, 20, 0.01 / 2 * 0.4)),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("count", range(10))
def test_before_the_first_look_nothing_is_decided_but_the_numbers_are_there(count: int) -> None:
    values = [1.0 + each / 100 for each in range(count)]
    found = decide(RULE, values, TOLERANCE)
    assert (found.verdict, found.look, found.sessions, found.mde) == (None, None, count, None)
    assert found.change == (hodges_lehmann(values) if values else None)
    assert found.p_regressed == 0.5**count


def test_between_looks_the_numbers_rest_on_every_session_so_far() -> None:
    values = [*ROUGH, 0.3, 0.3]
    found = decide(RULE, values, TOLERANCE)
    assert (found.verdict, found.look, found.sessions) == (None, 0, 12)
    assert found.change == hodges_lehmann(values)


def test_a_later_look_can_decide() -> None:
    undecided = shifted(QUIET, 0.02)
    found = decide(RULE, [*undecided, *shifted(QUIET, 0.05)], TOLERANCE)
    assert (found.verdict, found.look, found.sessions) == (Verdict.REGRESSED, 1, 15)


def test_after_the_last_look_the_undecided_is_inconclusive() -> None:
    values = shifted([*ROUGH, *ROUGH], 0.02)
    assert decide(RULE, values[:19], TOLERANCE).verdict is None
    found = decide(RULE, values, TOLERANCE)
    assert (found.verdict, found.look, found.sessions) == (Verdict.INCONCLUSIVE, 2, 20)
    assert decide(RULE, [*values, *([1.0] * 20)], TOLERANCE) == found


def test_what_is_undecided_when_sessions_end_is_inconclusive_and_verdicts_stand() -> None:
    undecided = decide(RULE, QUIET[:4], TOLERANCE)
    assert conclude(undecided) == replace(undecided, verdict=Verdict.INCONCLUSIVE)
    passed = decide(RULE, QUIET, TOLERANCE)
    assert conclude(passed) is passed


@given(log_ratios, log_ratios, st.sampled_from(["quick", "normal", "thorough"]))
def test_sessions_after_a_verdict_change_nothing(values: list[float], more: list[float], effort: str) -> None:
    rule = rule_for(effort, 2)
    for ask in (decide, decide_faster):
        found = ask(rule, values, TOLERANCE)
        if found.verdict is not None:
            assert ask(rule, [*values, *more], TOLERANCE) == found
            assert ask(rule, values[: found.sessions], TOLERANCE) == found


@given(log_ratios)
def test_a_campaign_that_stops_at_the_first_verdict_finds_what_the_replay_finds(values: list[float]) -> None:
    found = [decide(RULE, values[:count], TOLERANCE) for count in range(len(values) + 1)]
    verdicts = [each for each in found if each.verdict is not None]
    assert all(each == found[-1] for each in verdicts)


@given(one_look, log_ratios)
def test_swapped_subjects_swap_regressed_and_improved(rule: Rule, values: list[float]) -> None:
    forth = decide(rule, values, TOLERANCE)
    back = decide(rule, [-value for value in values], TOLERANCE)
    assert (back.p_regressed, back.p_improved) == (forth.p_improved, forth.p_regressed)
    mirror = {Verdict.REGRESSED: Verdict.IMPROVED, Verdict.IMPROVED: Verdict.REGRESSED}
    for one, other in ((forth, back), (back, forth)):
        if one.verdict in mirror:
            assert other.verdict is mirror[one.verdict]
    assert forth.change is not None
    assert back.change == -forth.change
    assert back.mde == pytest.approx(forth.mde)


@given(
    st.lists(st.tuples(st.integers(500, 2000), st.integers(500, 2000)), min_size=10, max_size=20),
    st.sampled_from([2.0**-30, 0.5, 1024.0]),
)
def test_the_unit_of_time_does_not_matter(times: list[tuple[int, int]], scale: float) -> None:
    plain = [math.log(candidate / reference) for candidate, reference in times]
    scaled = [math.log((candidate * scale) / (reference * scale)) for candidate, reference in times]
    assert decide(RULE, scaled, TOLERANCE) == decide(RULE, plain, TOLERANCE)


def alpha(level: float) -> Rule:
    """A rule of one look at 10 sessions whose level is exactly that."""
    return Rule(level, 0.05, (1.0,), (10,), 1)


@pytest.mark.parametrize(("shift", "verdict"), [(0.1, Verdict.REGRESSED), (-0.1, Verdict.IMPROVED)])
def test_a_p_value_at_the_level_is_called_and_one_above_it_is_not(shift: float, verdict: Verdict) -> None:
    values = shifted(QUIET, shift)  # wholly on one side: p = 1 / 1024
    assert decide(alpha(2**-10), values, TOLERANCE).verdict is verdict
    assert decide(alpha(math.nextafter(2**-10, 0)), values, TOLERANCE).verdict is not verdict


def test_the_family_and_the_weight_of_the_look_divide_the_level() -> None:
    values = shifted(QUIET, 0.1)
    for rule in (
        Rule(2**-8, 0.05, (1.0,), (10,), 4),
        Rule(2**-8, 0.05, (0.25, 0.75), (10, 20), 1),
    ):
        assert decide(rule, values, TOLERANCE).verdict is Verdict.REGRESSED
        stricter = replace(rule, alpha=math.nextafter(rule.alpha, 0))
        assert decide(stricter, values, TOLERANCE).verdict is not Verdict.REGRESSED


def test_a_pass_takes_beta_by_the_weight_of_the_look() -> None:
    for beta, weights in ((2**-10, (1.0,)), (2**-8, (0.25, 0.75))):
        looks = (10, 20)[: len(weights)]
        rule = Rule(0.01, beta, weights, looks, 4)
        assert decide(rule, QUIET, TOLERANCE).verdict is Verdict.PASS  # wholly below M: p = 1 / 1024
        stricter = replace(rule, beta=math.nextafter(beta, 0))
        assert decide(stricter, QUIET, TOLERANCE).verdict is not Verdict.PASS


def test_a_change_of_exactly_what_is_too_small_to_matter_is_no_evidence_of_more() -> None:
    assert decide(RULE, [NEGLIGIBLE] * 10, TOLERANCE).p_regressed == 1
    assert decide(RULE, [-NEGLIGIBLE] * 10, TOLERANCE).p_improved == 1
    assert decide(RULE, [MARGIN] * 10, TOLERANCE).p_ok == 1


def test_regressed_comes_before_improved_and_both_before_pass() -> None:
    nearly_all_is_significant = Rule(0.999, 1.0, (1.0,), (10,), 1)
    assert decide(nearly_all_is_significant, QUIET, TOLERANCE).verdict is Verdict.REGRESSED
    below = [-each for each in shifted(QUIET, 0.05)]
    found = decide(alpha(0.01), below, TOLERANCE)
    assert found.p_ok <= 0.05  # it would pass, too
    assert found.verdict is Verdict.IMPROVED


def wary(looks: tuple[int, ...]) -> Rule:
    """A rule that nearly always finds a pass, if nothing speaks against it."""
    return Rule(0.0001, 1.0, (1.0, 1.0), looks, 1)


@pytest.mark.parametrize("looks", [(10,), (10, 30)])
def test_a_hint_of_a_loss_forbids_a_pass_at_every_look(looks: tuple[int, ...]) -> None:
    values = shifted(QUIET, 0.013)
    found = decide(wary(looks), values, TOLERANCE)
    assert 0.01 < found.p_regressed <= 0.2
    assert found.verdict is not Verdict.PASS


def test_a_hint_of_a_gain_forbids_a_pass_before_the_last_look_only() -> None:
    values = shifted(QUIET, -0.013)
    before, last = (decide(wary(looks), values, TOLERANCE) for looks in ((10, 30), (10,)))
    assert before.p_improved is not None
    assert 0.01 < before.p_improved <= 0.2
    assert (before.verdict, last.verdict) == (None, Verdict.PASS)


def test_the_interval_is_at_one_minus_alpha_of_the_whole_family() -> None:
    assert decide(RULE, QUIET, TOLERANCE).interval == interval(QUIET, 0.99)
    assert decide(rule_for("quick", 24), QUIET, TOLERANCE).interval == interval(QUIET[:9], 0.95)
    assert decide(RULE, QUIET[:7], TOLERANCE).interval is None


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(-0.25, Verdict.PASS), (-0.1, Verdict.OVER_LIMIT), (0.1, Verdict.OVER_LIMIT), (-0.1823, None)],
)
def test_faster_than_is_answered_either_way(shift: float, verdict: Verdict | None) -> None:
    found = decide_faster(RULE, shifted(QUIET, shift), by=0.2)
    assert found.verdict is verdict
    assert found.p_improved is None
    assert found.change == pytest.approx(shift, abs=0.001)


def test_faster_than_is_counted_in_the_family_and_ends_inconclusive() -> None:
    values = shifted(QUIET, -0.3)
    for each in (values, shifted(QUIET, 0.3)):
        assert decide_faster(alpha(2**-10), each, by=0.2).verdict in {Verdict.PASS, Verdict.OVER_LIMIT}
        stricter = alpha(math.nextafter(2**-10, 0))
        assert decide_faster(stricter, each, by=0.2).verdict is Verdict.INCONCLUSIVE
        assert decide_faster(replace(alpha(2**-10), family=2), each, by=0.2).verdict is Verdict.INCONCLUSIVE


@given(
    one_look,
    st.lists(st.integers(-200, 200).filter(bool), min_size=12, max_size=12, unique_by=abs),
    st.floats(0.01, 1),
)
def test_faster_than_is_symmetric_about_what_is_asked_for(rule: Rule, permille: list[int], by: float) -> None:
    null = math.log1p(by)
    forth = decide_faster(rule, [each / 1000 - null for each in permille], by)
    back = decide_faster(rule, [-each / 1000 - null for each in permille], by)
    assert (back.p_ok, back.p_regressed) == (forth.p_regressed, forth.p_ok)


def test_a_change_is_told_as_the_change_of_the_metric() -> None:
    assert change_of(SPEED, math.log(2)) == pytest.approx(-0.5)
    assert change_of(LATENCY, math.log(2)) == pytest.approx(1.0)
    assert interval_of(SPEED, (math.log(1.25), math.log(2))) == pytest.approx((-0.5, -0.2))
    assert interval_of(LATENCY, (math.log(1.25), math.log(2))) == pytest.approx((0.25, 1.0))


@pytest.mark.parametrize(("effort", "family", "look"), [("normal", 2, 0), ("normal", 2, 2), ("quick", 1, 0)])
def test_the_mde_is_called_in_95_percent_of_runs(effort: str, family: int, look: int) -> None:
    rule = rule_for(effort, family)
    sessions, level = rule.looks[look], rule.level(look)
    source = random.Random(11)
    runs = 2000
    called = 0
    for _ in range(runs):
        seen = [source.gauss(0, 0.02) for _ in range(sessions)]
        mde = minimum_detectable_effect(seen, NEGLIGIBLE, sessions, level)
        assert mde is not None
        slower = [source.gauss(math.log1p(mde) - NEGLIGIBLE, 0.02) for _ in range(sessions)]
        called += p_value(slower) <= level
    assert called / runs == pytest.approx(0.95, abs=0.015)


def test_the_mde_grows_with_the_spread_and_shrinks_with_sessions() -> None:
    first = minimum_detectable_effect(QUIET, NEGLIGIBLE, 10, RULE.level(0))
    rough = minimum_detectable_effect(ROUGH, NEGLIGIBLE, 10, RULE.level(0))
    last = minimum_detectable_effect(QUIET, NEGLIGIBLE, 20, RULE.level(2))
    assert first is not None
    assert rough is not None
    assert last is not None
    assert math.expm1(NEGLIGIBLE) < last < first < rough
    assert math.log1p(rough) - NEGLIGIBLE == pytest.approx(10 * (math.log1p(first) - NEGLIGIBLE))


def test_the_mde_of_the_same_sessions_is_the_same_in_every_run() -> None:
    found = minimum_detectable_effect(QUIET, NEGLIGIBLE, 10, RULE.level(0))
    assert found == pytest.approx(0.03690687914047295, rel=1e-12)


def test_a_test_that_can_never_reject_has_no_mde() -> None:
    assert minimum_detectable_effect(QUIET[:9], NEGLIGIBLE, 9, 0.0015) is None
