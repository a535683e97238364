"""The rule against an implementation of its own, written from the specification alone."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pytest_llm.records import Claim, Gate, Installed, LoadOptions, Subject
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.log_ratios import Observations
from pytest_llm.stats.sequential import Member, decide_family, margin_of, negligible_of, rule_for
from tests import independent_rule

if TYPE_CHECKING:
    from pytest_llm.stats.sequential import Rule

THAN = Subject("m", Installed("llama-cpp-python"), LoadOptions())
SPEED, LATENCY = METRICS["generation_tokens_per_second"], METRICS["first_token_latency"]


@pytest.mark.parametrize("effort", ["quick", "normal", "thorough"])
def test_looks_and_weights_are_the_same(effort: str) -> None:
    for family in (*range(1, 40), 100, 300):
        rule = rule_for(effort, family)
        looks = independent_rule.schedule(effort, family)
        assert rule.looks == tuple(each[0] for each in looks)
        for place, (_, alpha, beta) in enumerate(looks):
            assert rule.alpha * rule.alpha_weights[place] == pytest.approx(float(alpha))
            assert rule.beta * rule.beta_weights[place] == pytest.approx(float(beta))


@pytest.mark.parametrize(
    "replays", [pytest.param(60, id="some"), pytest.param(1000, id="all", marks=pytest.mark.slow)]
)
def test_its_decisions_are_those_of_an_independent_implementation(replays: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(replays):
        source = random.Random(seed)
        effort, family = (
            source.choice(["quick", "normal", "normal", "thorough"]),
            source.choice([0, 0, 2, 24]),
        )
        drawn = [_member(source, index) for index in range(source.randint(1, 6))]
        rule = rule_for(
            effort,
            max(family, len({(each[0].metric.name, *each[2:], type(each[0])) for each in drawn})),
            source.choice([0.0, 0.003, 0.006]),
        )
        questions = [_question(rule, *each) for each in drawn]
        independent_rule.run(effort, rule.family, questions)
        for question, found in zip(
            questions, decide_family(rule, [_as_member(*each) for each in drawn]), strict=True
        ):
            verdict = found.verdict.value if found.verdict else None
            assert verdict == question.verdict, seed
            if verdict is not None:
                assert found.sessions == question.at, seed
                assert question.by in ("", found.observation), seed
            seen[f"{verdict} by {found.observation}"] += 1
    assert len(seen) >= 8
    assert {each.partition(" by")[0] for each in seen} >= {"regressed", "improved", "pass", "inconclusive"}


def _member(source: random.Random, index: int) -> tuple[Gate | Claim, Observations, int, int]:
    """A question and 60 sessions of a true effect: some with ties and zeros, some cut short."""
    campaign = source.randint(0, 2)
    asked: Gate | Claim = Gate(source.choice([SPEED, LATENCY]), source.choice([0.05, 0.05, 0.1]))
    if source.random() < 0.2:
        asked = Claim(SPEED, 0.1, THAN)
    effect, sd = source.choice([0, 0, 0.01, 0.03, 0.05, 0.1, -0.05, -0.3]), source.choice([0.005, 0.02, 0.05])
    count = source.choice([60, 60, 60, source.randint(0, 25)])
    typical = [effect + source.gauss(0, sd) for _ in range(count)]
    stalls = source.choice([0, 0, 0.08])
    whole = [0.7 * each + effect * 0.3 + stalls + source.gauss(0, sd) for each in typical]
    if source.random() < 0.2:
        digits = source.choice([2, 3])
        typical, whole = ([round(each, digits) for each in values] for values in (typical, whole))
    seen = Observations(typical, whole if asked.metric.rate else None)
    return asked, seen, campaign, 2 * campaign + source.randint(0, 1)


def _as_member(asked: Gate | Claim, seen: Observations, campaign: int, pair: int) -> Member:
    def observe(sessions: int) -> Observations:
        return Observations(seen.typical[:sessions], None if seen.whole is None else seen.whole[:sessions])

    return Member(asked, observe, len(seen.typical), campaign, pair)


def _question(
    rule: Rule, asked: Gate | Claim, seen: Observations, campaign: int, pair: int
) -> independent_rule.Question:
    name = asked.metric.name
    sessions = {each: values for each, values in seen._asdict().items() if values is not None}
    if isinstance(asked, Claim):
        return independent_rule.Question("claim", margin_of(asked), 0.0, campaign, pair, name, sessions)
    # The same floats, as ties with them are dropped.
    size, negligible = margin_of(asked), negligible_of(asked, rule.tau)
    assert (size, negligible) == pytest.approx(independent_rule.log_sizes(asked.tolerance, rule.tau))
    assert math.isfinite(size)
    return independent_rule.Question("gate", size, negligible, campaign, pair, name, sessions)
