"""The paired rule: looks, order of verdicts, thresholds, replay, families, and what a decision tells."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.records import Claim, Gate, Installed, LoadOptions, Subject, Verdict
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats import sequential
from pytest_llm.stats.log_ratios import Observations
from pytest_llm.stats.sequential import (
    TAU,
    Decision,
    Member,
    Rule,
    conclude,
    decide_family,
    negligible_of,
    rule_for,
    step_up,
)
from pytest_llm.stats.signed_rank import p_value

if TYPE_CHECKING:
    from collections.abc import Sequence

SPEED = METRICS["generation_tokens_per_second"]
RULE = rule_for("normal", 2)
TOLERANCE = 0.05
GATE = Gate(SPEED, TOLERANCE)
MARGIN = math.log1p(TOLERANCE)
NEGLIGIBLE = MARGIN * sequential.NEGLIGIBLE
THAN = Subject("m", Installed("llama-cpp-python"), LoadOptions())
# Ten sessions of a machine whose log ratios scatter by about 1 %.
QUIET = [0.011, -0.008, 0.006, -0.014, 0.002, 0.009, -0.003, -0.010, 0.005, -0.001]
ROUGH = [10 * each for each in QUIET]
N0, N1 = 0, 1  # the places of looks in a rule of four

one_look = st.builds(
    lambda alpha, sessions: Rule(alpha, 0.05, (1.0,), (1.0,), (sessions,), 1, 0.0),
    st.floats(0.01, 0.2),
    st.integers(5, 12),
)
log_ratios = st.lists(st.floats(-0.2, 0.2), min_size=12, max_size=40)


def decide(rule: Rule, values: Sequence[float], whole: Sequence[float] | None = None) -> Decision:
    seen = Observations(list(values), None if whole is None else list(whole))
    return sequential.decide(rule, GATE, seen)


def decide_faster(rule: Rule, values: Sequence[float], by: float) -> Decision:
    return sequential.decide(rule, Claim(SPEED, by, THAN), Observations(list(values)))


def shifted(values: Sequence[float], by: float) -> list[float]:
    return [value + by for value in values]


@pytest.mark.parametrize(
    ("effort", "family", "looks"),
    [
        ("normal", 1, (6, 10, 15, 20)),
        ("normal", 2, (6, 10, 15, 20)),  # log2(2 / 0.00225) is just under 10
        ("normal", 3, (6, 10, 11, 17, 22)),
        ("normal", 24, (6, 10, 14, 21, 28)),
        ("thorough", 1, (6, 10, 20, 30, 40)),
        ("thorough", 24, (6, 10, 28, 42, 56)),
        ("quick", 1, (6,)),
        ("quick", 2, (6,)),
        ("quick", 3, (7,)),
        ("quick", 24, (10,)),
    ],
)
def test_the_looks_grow_with_the_family(effort: str, family: int, looks: tuple[int, ...]) -> None:
    rule = rule_for(effort, family)
    assert rule.looks == looks
    assert (rule.alpha, rule.beta, rule.family) == (0.05 if effort == "quick" else 0.01, 0.05, family)
    weights = {
        1: ((1.0,), (1.0,)),
        4: ((0.0, 0.3, 0.3, 0.4), (0.3125, 0.2, 0.2, 0.2875)),
        5: ((0.0, 0.15, 0.3, 0.25, 0.3), (0.3125, 0.1, 0.15, 0.2, 0.2375)),
    }
    assert (rule.alpha_weights, rule.beta_weights) == weights[len(looks)]
    assert rule.least_sessions == looks[-3 if len(looks) > 1 else 0]


@pytest.mark.parametrize("effort", ["quick", "normal", "thorough"])
@pytest.mark.parametrize(
    "families",
    [
        pytest.param((1, 2, 3, 10, 100, 300), id="some"),
        pytest.param(range(1, 301), id="all", marks=pytest.mark.slow),
    ],
)
def test_a_sample_wholly_on_one_side_is_called_alone_at_n1_and_passes_at_the_first_look(
    effort: str, families: Sequence[int]
) -> None:
    for family in families:
        rule = rule_for(effort, family)
        assert math.fsum(rule.alpha_weights) == math.fsum(rule.beta_weights) == 1
        found = decide(rule, [1.0] * rule.looks[-1])
        assert found.verdict is Verdict.REGRESSED
        assert found.sessions <= rule.least_sessions
        passed = decide(rule, [0.0] * rule.looks[-1])
        assert (passed.verdict, passed.sessions) == (Verdict.PASS, rule.looks[0])


@pytest.mark.parametrize("family", [3, 12, 24, 48, 300])
def test_a_loss_in_all_metrics_is_called_after_10_sessions_and_one_alone_is_not(family: int) -> None:
    rule = rule_for("normal", family)
    slower, equal = [0.7] * 30, QUIET * 3
    everywhere = decide_family(rule, [member(slower, pair=number) for number in range(family)])
    assert {(each.verdict, each.sessions) for each in everywhere} == {(Verdict.REGRESSED, 10)}
    alone = [member(slower if number == 0 else equal, pair=number) for number in range(family)]
    assert decide_family(rule, alone)[0].sessions == rule.least_sessions


def member(
    values: Sequence[float],
    whole: Sequence[float] | None = None,
    *,
    campaign: int = 0,
    pair: int = 0,
    asked: Gate | Claim = GATE,
) -> Member:
    def observe(sessions: int) -> Observations:
        return Observations(list(values[:sessions]), None if whole is None else list(whole[:sessions]))

    return Member(asked, observe, len(values), campaign, pair)


def test_campaigns_that_are_not_measured_yet_count_with_a_p_value_of_one() -> None:
    rule = rule_for("normal", 24)
    first = [member([0.7] * 30, pair=number) for number in range(12)]
    assert {each.sessions for each in decide_family(rule, first)} == {rule.least_sessions}
    second = [member([0.7] * 30, campaign=1, pair=12 + number) for number in range(12)]
    both = decide_family(rule, [*second, *first])
    assert [each.sessions for each in both[12:]] == [rule.least_sessions] * 12  # they stand
    assert [each.sessions for each in both[:12]] == [10] * 12  # with those before, all 24 have a loss


def test_what_passed_counts_with_a_p_value_of_one_afterwards() -> None:
    rule = rule_for("normal", 3)
    slower, passes = [0.7] * 22, [0.0] * 22
    first = decide_family(rule, [member(slower, pair=1), member(slower, pair=2), member(passes, pair=3)])
    assert first[2].sessions == 6
    assert [each.sessions for each in first[:2]] == [rule.least_sessions] * 2


def test_a_regression_ends_the_sessions_of_the_other_questions_about_its_workload() -> None:
    open_, slower = shifted(QUIET * 2, 0.02), [0.5] * 20
    rule = replace(RULE, alpha=0.015)
    one, other, apart = decide_family(rule, [member(slower), member(open_), member(open_, pair=1)])
    assert (one.verdict, one.sessions) == (Verdict.REGRESSED, 10)
    assert (other.verdict, other.sessions, other.stopped) == (None, 10, True)
    assert conclude(other).verdict is Verdict.INCONCLUSIVE
    assert (apart.sessions, apart.stopped) == (15, False)


def test_the_step_up_is_that_of_hochberg() -> None:
    assert step_up([0.04, 0.04], 2, 0.05) == 0.05  # both at the full level
    assert step_up([0.02, 0.06], 2, 0.05) == 0.025
    assert step_up([0.03, 0.06], 2, 0.05) == 0.025  # rejects nothing
    assert step_up([0.012, 0.012], 4, 0.05) == 0.05 / 3  # two others count with 1
    assert step_up([], 4, 0.05) == 0.0125


@pytest.mark.parametrize(
    ("values", "verdict", "look"),
    [
        (QUIET, Verdict.PASS, N0),
        ([*QUIET[:5], 0.06, *QUIET[5:9]], Verdict.PASS, N1),
        (shifted(QUIET, 0.05), Verdict.REGRESSED, N1),
        (shifted(QUIET, -0.05), Verdict.IMPROVED, N1),
        (shifted(QUIET, 0.02), None, N1),
        (ROUGH, None, N1),
    ],
)
def test_a_quiet_machine_tells_losses_gains_and_neither_at_the_first_looks(
    values: list[float], verdict: Verdict | None, look: int
) -> None:
    found = decide(RULE, values)
    assert found.verdict is verdict
    assert (found.look, found.sessions) == (look, RULE.looks[look])


def test_the_look_after_6_sessions_can_only_pass() -> None:
    assert decide(RULE, [1.0] * 9).verdict is None
    assert decide(RULE, [-1.0] * 9).verdict is None


def test_a_decision_tells_what_it_rests_on() -> None:
    values = shifted(QUIET, 0.05)
    assert decide(RULE, [*values, 0.1]) == Decision(
        verdict=Verdict.REGRESSED,
        look=N1,
        sessions=10,
        observation="typical",
        log_ratios=tuple(values),
        p_regressed=p_value([value - NEGLIGIBLE for value in values]),
        p_improved=p_value([-value - NEGLIGIBLE for value in values]),
        p_ok=p_value([MARGIN - value for value in values]),
        level=0.01 * 0.75 * 0.3 / 2,
    )


def test_the_worse_observation_decides() -> None:
    calm, slower, faster = [each / 2 for each in QUIET] * 2, [0.3] * 20, shifted(QUIET * 2, -0.05)
    wild = [each * 3 for each in QUIET] * 2
    for typical, whole, verdict, observation in (
        (calm, slower, Verdict.REGRESSED, "whole"),
        (slower, calm, Verdict.REGRESSED, "typical"),
        (slower, slower, Verdict.REGRESSED, "typical"),
        (faster, slower, Verdict.REGRESSED, "whole"),
        (faster, calm, Verdict.IMPROVED, "typical"),
        (faster, ROUGH * 2, Verdict.INCONCLUSIVE, "whole"),
        (calm, wild, Verdict.PASS, "whole"),
        (calm, calm, Verdict.PASS, "typical"),
        (calm, ROUGH * 2, Verdict.INCONCLUSIVE, "whole"),
        (ROUGH * 2, calm, Verdict.INCONCLUSIVE, "typical"),
    ):
        found = decide(RULE, typical, whole)
        assert (found.verdict, found.observation) == (verdict, observation)


def test_whole_has_a_quarter_of_alpha_and_typical_the_rest() -> None:
    calm = [each / 2 for each in QUIET] * 2
    rule = rule_for("normal", 1)
    # 2^-10 is below 0.75 * 0.003 and above 0.25 * 0.003.
    assert decide(rule, [0.3] * 20, calm).sessions == 10
    assert decide(rule, calm, [0.3] * 20).sessions == 15


def test_beta_is_not_shared_as_a_pass_needs_both_observations() -> None:
    calm = [each / 2 for each in QUIET]
    assert decide(RULE, calm, calm).sessions == 6


@pytest.mark.parametrize("count", range(6))
def test_before_the_first_look_nothing_is_decided_but_the_numbers_are_there(count: int) -> None:
    values = [1.0 + each / 100 for each in range(count)]
    found = decide(RULE, values)
    assert (found.verdict, found.look, found.sessions) == (None, None, count)
    assert found.log_ratios == tuple(values)
    assert found.p_regressed == 0.5**count


def test_between_looks_the_numbers_rest_on_every_session_so_far() -> None:
    values = [*ROUGH, 0.3, 0.3]
    found = decide(RULE, values)
    assert (found.verdict, found.look, found.sessions) == (None, N1, 12)
    assert found.log_ratios == tuple(values)


def test_a_later_look_can_decide() -> None:
    undecided = shifted(QUIET, 0.02)
    found = decide(RULE, [*undecided, *shifted(QUIET, 0.05)])
    assert (found.verdict, found.look, found.sessions) == (Verdict.REGRESSED, 2, 15)


def test_after_the_last_look_the_undecided_is_inconclusive() -> None:
    values = shifted([*ROUGH, *ROUGH], 0.02)
    assert decide(RULE, values[:19]).verdict is None
    found = decide(RULE, values)
    assert (found.verdict, found.look, found.sessions) == (Verdict.INCONCLUSIVE, 3, 20)
    assert decide(RULE, [*values, *([1.0] * 20)]) == found


def test_what_is_undecided_when_sessions_end_is_inconclusive_and_verdicts_stand() -> None:
    undecided = decide(RULE, QUIET[:4])
    assert conclude(undecided) == replace(undecided, verdict=Verdict.INCONCLUSIVE)
    passed = decide(RULE, QUIET)
    assert conclude(passed) is passed


@given(log_ratios, log_ratios, st.sampled_from(["quick", "normal", "thorough"]))
def test_sessions_after_a_verdict_change_nothing(values: list[float], more: list[float], effort: str) -> None:
    rule = rule_for(effort, 2)
    for found, again, shorter in (
        (ask(rule, values), ask(rule, [*values, *more]), ask(rule, values[: ask(rule, values).sessions]))
        for ask in (decide, partial(decide_faster, by=0.05))
    ):
        if found.verdict is not None:
            assert again == found
            assert shorter == found


@given(log_ratios)
def test_a_campaign_that_stops_at_the_first_verdict_finds_what_the_replay_finds(values: list[float]) -> None:
    found = [decide(RULE, values[:count]) for count in range(len(values) + 1)]
    verdicts = [each for each in found if each.verdict is not None]
    assert all(each == found[-1] for each in verdicts)


@given(st.lists(log_ratios, min_size=2, max_size=5))
def test_what_a_campaign_decided_stands_whatever_later_campaigns_show(found: list[list[float]]) -> None:
    members = [member(each, each, campaign=place, pair=place) for place, each in enumerate(found)]
    rule = rule_for("normal", len(members))
    for count in range(len(members)):
        assert decide_family(rule, members[:count]) == decide_family(rule, members)[:count]


@given(one_look, log_ratios)
def test_swapped_subjects_swap_regressed_and_improved(rule: Rule, values: list[float]) -> None:
    forth = decide(rule, values)
    back = decide(rule, [-value for value in values])
    assert (back.p_regressed, back.p_improved) == (forth.p_improved, forth.p_regressed)
    mirror = {Verdict.REGRESSED: Verdict.IMPROVED, Verdict.IMPROVED: Verdict.REGRESSED}
    for one, other in ((forth, back), (back, forth)):
        if one.verdict in mirror:
            assert other.verdict is mirror[one.verdict]


@given(
    st.lists(st.tuples(st.integers(500, 2000), st.integers(500, 2000)), min_size=10, max_size=20),
    st.sampled_from([2.0**-30, 0.5, 1024.0]),
)
def test_the_unit_of_time_does_not_matter(times: list[tuple[int, int]], scale: float) -> None:
    plain = [math.log(candidate / reference) for candidate, reference in times]
    scaled = [math.log((candidate * scale) / (reference * scale)) for candidate, reference in times]
    assert decide(RULE, scaled) == decide(RULE, plain)


def alpha(level: float, *, family: int = 1) -> Rule:
    """A rule of one look at 10 sessions whose level for the typical observation is exactly that."""
    return Rule(level / 0.75, 0.05, (1.0,), (1.0,), (10,), family, 0.0)


@pytest.mark.parametrize(("shift", "verdict"), [(0.1, Verdict.REGRESSED), (-0.1, Verdict.IMPROVED)])
def test_a_p_value_at_the_level_is_called_and_one_above_it_is_not(shift: float, verdict: Verdict) -> None:
    values = shifted(QUIET, shift)  # wholly on one side: p = 1 / 1024
    assert decide(alpha(2**-10 * (1 + 1e-12)), values).verdict is verdict
    assert decide(alpha(2**-10 * (1 - 1e-12)), values).verdict is not verdict


def test_the_family_and_the_weight_of_the_look_divide_the_level() -> None:
    values = shifted(QUIET, 0.1)
    for rule in (
        Rule(2**-8 * (1 + 1e-12) / 0.75, 0.05, (1.0,), (1.0,), (10,), 4),
        Rule(2**-8 * (1 + 1e-12) / 0.75, 0.05, (0.25, 0.75), (0.5, 0.5), (10, 20), 1),
    ):
        assert decide(rule, values).verdict is Verdict.REGRESSED
        assert decide(replace(rule, alpha=rule.alpha * (1 - 1e-11)), values).verdict is not Verdict.REGRESSED


def test_a_pass_takes_beta_by_the_weight_of_the_look() -> None:
    for beta, weights in ((2**-10, (1.0,)), (2**-8, (0.25, 0.75))):
        looks = (10, 20)[: len(weights)]
        rule = Rule(0.01, beta, weights, weights, looks, 4)
        assert decide(rule, QUIET).verdict is Verdict.PASS  # wholly below M: p = 1 / 1024
        stricter = replace(rule, beta=math.nextafter(beta, 0))
        assert decide(stricter, QUIET).verdict is not Verdict.PASS


def test_a_change_of_exactly_what_is_too_small_to_matter_is_no_evidence_of_more() -> None:
    null = negligible_of(GATE, RULE.tau)
    assert decide(RULE, [null] * 9).p_regressed == 1
    assert decide(RULE, [-null] * 9).p_improved == 1
    assert decide(RULE, [MARGIN] * 9).p_ok == 1


def test_what_is_negligible_is_a_fifth_of_the_tolerance_and_at_least_three_times_tau() -> None:
    assert negligible_of(GATE, TAU) == NEGLIGIBLE
    assert negligible_of(GATE, 0.005) == 0.015
    assert negligible_of(Gate(SPEED, 0.05, 0.02), TAU) == math.log1p(0.02)
    assert negligible_of(Gate(SPEED, 0.05, 0.001), TAU) == 3 * TAU
    # Tau is the spread of times.
    assert negligible_of(Gate(METRICS["peak_ram"], 0.03), 0.005) == math.log1p(0.03) * sequential.NEGLIGIBLE


def test_regressed_comes_before_improved_and_both_before_pass() -> None:
    nearly_all_is_significant = Rule(0.999, 1.0, (1.0,), (1.0,), (10,), 1)
    assert decide(nearly_all_is_significant, shifted(QUIET, 0.01)).verdict is Verdict.REGRESSED
    below = [-each for each in shifted(QUIET, 0.05)]
    found = decide(alpha(0.01), below)
    assert found.p_ok <= 0.05  # it would pass, too
    assert found.verdict is Verdict.IMPROVED


def wary(looks: tuple[int, ...]) -> Rule:
    """A rule that nearly always finds a pass, if nothing speaks against it."""
    return Rule(0.0001, 1.0, (1.0, 1.0), (1.0, 1.0), looks, 1)


@pytest.mark.parametrize("looks", [(10,), (10, 30)])
def test_a_hint_of_a_loss_forbids_a_pass_at_every_look(looks: tuple[int, ...]) -> None:
    found = decide(wary(looks), shifted(QUIET, 0.013))
    assert 0.01 < found.p_regressed <= 0.2
    assert found.verdict is not Verdict.PASS


def test_a_hint_of_a_gain_forbids_a_pass_before_the_last_look_only() -> None:
    values = shifted(QUIET, -0.013)
    before, last = (decide(wary(looks), values) for looks in ((10, 30), (10,)))
    assert 0.01 < before.p_improved <= 0.2
    assert (before.verdict, last.verdict) == (None, Verdict.PASS)


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(-0.25, Verdict.PASS), (-0.1, Verdict.OVER_LIMIT), (0.1, Verdict.OVER_LIMIT), (-0.1823, None)],
)
def test_faster_than_is_answered_either_way(shift: float, verdict: Verdict | None) -> None:
    found = decide_faster(RULE, shifted(QUIET, shift), by=0.2)
    assert found.verdict is verdict
    assert found.p_improved == found.p_ok


def test_a_claim_holds_for_both_observations() -> None:
    claim, gain, less = Claim(SPEED, 0.2, THAN), shifted(QUIET * 2, -0.3), shifted(QUIET * 2, -0.1)
    for whole, verdict, observation in ((gain, Verdict.PASS, "typical"), (less, Verdict.OVER_LIMIT, "whole")):
        found = sequential.decide(RULE, claim, Observations(gain, whole))
        assert (found.verdict, found.observation) == (verdict, observation)


def test_a_claim_that_one_observation_denies_supports_no_other_question() -> None:
    rule, gain = rule_for("normal", 3), [-0.7] * 22
    claim = Claim(SPEED, 0.2, THAN)
    for whole, sessions in ((gain, 10), ([-each for each in QUIET], rule.least_sessions)):
        claims = [member(gain, [*whole, *whole, *whole][:22], pair=pair, asked=claim) for pair in (1, 2)]
        improved = decide_family(rule, [member(gain), *claims])[0]
        assert (improved.verdict, improved.sessions) == (Verdict.IMPROVED, sessions)


def test_faster_than_is_counted_in_the_family_and_ends_inconclusive() -> None:
    values = shifted(QUIET, -0.3)
    for each in (values, shifted(QUIET, 0.3)):
        level = 2**-10 * (1 + 1e-12)
        assert decide_faster(alpha(level), each, by=0.2).verdict in {Verdict.PASS, Verdict.OVER_LIMIT}
        stricter = alpha(2**-10 * (1 - 1e-12))
        assert decide_faster(stricter, each, by=0.2).verdict is Verdict.INCONCLUSIVE
        assert decide_faster(alpha(level, family=2), each, by=0.2).verdict is Verdict.INCONCLUSIVE


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
