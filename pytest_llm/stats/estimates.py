"""Estimate, interval and bound of a decided question, as the change of its metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.records import Gate, Verdict
from pytest_llm.stats import signed_rank
from pytest_llm.stats.power import minimum_detectable_effect
from pytest_llm.stats.sequential import margin_of, negligible_of

if TYPE_CHECKING:
    from pytest_llm.records import Claim
    from pytest_llm.records.metric import Metric
    from pytest_llm.stats.sequential import Decision, Rule


class Estimate(NamedTuple):
    """Estimates from the sessions of a decision.

    Attributes:
        change: Hodges-Lehmann estimate of the metric's change; None without sessions.
        interval: Of the change, at 1 - alpha, lower end first; None with too few sessions.
        bound: The loss as a ratio of times or sizes less 1: of a pass, the most that it can be; of a
            regression, the least; None otherwise. The test that decided gives its confidence.
        mde: The loss (for a claim, the gain) that these sessions call with 95 % power, as a ratio: 0.034 is
            3.4 %. None if no loss in this metric alone could have been called at that look.
    """

    change: float | None
    interval: tuple[float, float] | None
    bound: float | None
    mde: float | None


def estimate(rule: Rule, asked: Gate | Claim, decision: Decision) -> Estimate:
    """Return the estimates of a decision by a rule."""
    values, metric = decision.log_ratios, asked.metric
    ends = signed_rank.interval(values, 1 - rule.alpha)
    mde = None
    if decision.look is not None and decision.verdict is not None and decision.sessions > 1:
        null = negligible_of(asked, rule.tau) if isinstance(asked, Gate) else margin_of(asked)
        level = rule.level(decision.look, decision.observation) / rule.family
        mde = minimum_detectable_effect(values, null, level)
    return Estimate(
        change_of(metric, signed_rank.hodges_lehmann(values)) if values else None,
        interval_of(metric, ends) if ends is not None else None,
        _bound(asked, decision),
        mde,
    )


def _bound(asked: Gate | Claim, decision: Decision) -> float | None:
    if not isinstance(asked, Gate) or decision.level is None:
        return None
    if decision.verdict is Verdict.PASS:
        most = signed_rank.upper_bound(decision.log_ratios, decision.level)
        return None if most is None else math.expm1(most)
    if decision.verdict is Verdict.REGRESSED:
        least = signed_rank.upper_bound([-each for each in decision.log_ratios], decision.level)
        return None if least is None else math.expm1(-least)
    return None


def change_of(metric: Metric, log_ratio: float) -> float:
    """Return a log ratio of times as a relative change of the metric; the sign of rates is opposite."""
    return math.expm1(-log_ratio if metric.better == "higher" else log_ratio)


def interval_of(metric: Metric, log_ratios: tuple[float, float]) -> tuple[float, float]:
    """Return an interval of log ratios of times as relative changes of the metric, lower end first."""
    low, high = sorted(change_of(metric, end) for end in log_ratios)
    return low, high
