"""Sequential signed-rank test for paired sessions.

The unit is the session: one log ratio of times, candidate / reference, so that positive is worse. The order
of the two subjects is random. Two equal subjects therefore give log ratios of random sign, whatever the
machine does, and the error rate holds without further assumptions. The looks share it by their weights
(Bonferroni).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Protocol

from pytest_llm.records import Gate, Verdict
from pytest_llm.records.schema import AboveZero, Positive, Share, constraint
from pytest_llm.stats import signed_rank
from pytest_llm.stats.power import minimum_detectable_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import Claim
    from pytest_llm.records.metrics import Metric

ALPHA = 0.01  # false "regressed", and false "improved", of a whole run of pytest
QUICK_ALPHA = 0.05
BETA = 0.05  # false "pass" of each metric
WEIGHTS = (0.3, 0.3, 0.4)
NEGLIGIBLE = 1 / 5  # of the tolerance, in logarithms: too small to matter
_UNSUSPICIOUS = 0.2  # no "pass" while the p-value of "regressed" is below this


@dataclass(frozen=True)
class Rule:
    """The looks of a sequential test and its error rates.

    Attributes:
        weights: The share of alpha and beta that each look spends; their sum is 1.
        looks: The number of sessions at each look; ascending.
        family: The number of metrics that share alpha.
    """

    alpha: Share
    beta: Share
    weights: Annotated[tuple[AboveZero, ...], constraint(minItems=1)]
    looks: Annotated[tuple[Positive, ...], constraint(minItems=1)]
    family: Positive

    @property
    def least_sessions(self) -> int:
        """The sessions that a loss in one metric alone takes to be called."""
        return self.looks[-1] // 2 if len(self.looks) > 1 else self.looks[0]

    def level(self, look: int) -> float:
        """Return the significance level of one metric at a look, counted from 0."""
        return self.alpha / self.family * self.weights[look]


def rule_for(effort: str, family: int) -> Rule:
    """Return the rule of an effort for a family of distinct gated (campaign, workload, metric).

    The first look comes as soon as a sample can be significant, but not before 10 sessions (6 with "quick",
    which has one look).
    """
    if effort == "quick":
        return Rule(QUICK_ALPHA, BETA, (1.0,), (max(6, _least_sessions(QUICK_ALPHA / family)),), family)
    first = max(10, _least_sessions(ALPHA / family * WEIGHTS[0]))
    first *= {"normal": 1, "thorough": 2}[effort]
    return Rule(ALPHA, BETA, WEIGHTS, (first, math.ceil(1.5 * first), 2 * first), family)


@dataclass(frozen=True)
class Decision:
    """The state of a sequential test of one metric.

    Attributes:
        verdict: None while more sessions are needed.
        look: The look that decided, or the latest one, counted from 0; None before the first.
        change: Hodges-Lehmann estimate of the log ratio of times: positive is worse; None without sessions.
        interval: Of the change, at 1 - alpha; None with too few sessions.
        p_regressed: Against "slower by no more than the negligible part"; for a claim, against "faster by the
            claimed ratio".
        p_improved: Against "faster by no more than the negligible part"; None for a claim.
        p_ok: Against "slower by the tolerance or more"; for a claim, against "not faster by that ratio".
        mde: The slowdown (for a claim, the speed-up) that the last look detects with 95 % power, as a ratio:
            0.034 is 3.4 %. None before the first look.
    """

    verdict: Verdict | None
    look: int | None
    sessions: int
    change: float | None
    interval: tuple[float, float] | None
    p_regressed: float
    p_improved: float | None
    p_ok: float
    mde: float | None


def decide(rule: Rule, log_ratios: Sequence[float], tolerance: float) -> Decision:
    """Decide whether a candidate regressed, improved or passes, or that more sessions are needed.

    The first look that decides is final: later sessions, which another metric needed, change nothing. The
    log ratios are of times, candidate / reference; the tolerance is a ratio of times - 1.
    """
    return _replay(rule, log_ratios, _Slower(math.log1p(tolerance)))


def decide_faster(rule: Rule, log_ratios: Sequence[float], by: float) -> Decision:
    """Decide whether a candidate is faster by a claimed ratio: pass, over limit or inconclusive."""
    return _replay(rule, log_ratios, _Faster(math.log1p(by)))


def decide_any(rule: Rule, asked: Gate | Claim, log_ratios: Sequence[float]) -> Decision:
    """Return the decision on a gate (:func:`decide`) or a claim (:func:`decide_faster`)."""
    if isinstance(asked, Gate):
        return decide(rule, log_ratios, asked.tolerance)
    return decide_faster(rule, log_ratios, asked.by)


def conclude(decision: Decision) -> Decision:
    """Return the final decision: without further sessions, an open verdict is inconclusive and has no MDE."""
    return decision if decision.verdict else replace(decision, verdict=Verdict.INCONCLUSIVE, mde=None)


def change_of(metric: Metric, log_ratio: float) -> float:
    """Return a log ratio of times as a relative change of the metric; the sign of rates is opposite."""
    return math.expm1(-log_ratio if metric.better == "higher" else log_ratio)


def interval_of(metric: Metric, log_ratios: tuple[float, float]) -> tuple[float, float]:
    """Return an interval of log ratios of times as relative changes of the metric, lower end first."""
    low, high = sorted(change_of(metric, end) for end in log_ratios)
    return low, high


@dataclass(frozen=True)
class _Evidence:
    p_regressed: float
    p_improved: float | None
    p_ok: float


class _Question(Protocol):
    @property
    def null(self) -> float:
        """The size of change that the test must exceed."""

    def weigh(self, log_ratios: Sequence[float]) -> _Evidence: ...

    def answer(self, evidence: _Evidence, rule: Rule, look: int) -> Verdict | None: ...


@dataclass(frozen=True)
class _Slower:
    margin: float

    @property
    def null(self) -> float:
        return self.margin * NEGLIGIBLE

    def weigh(self, log_ratios: Sequence[float]) -> _Evidence:
        return _Evidence(
            p_regressed=signed_rank.p_value([each - self.null for each in log_ratios]),
            p_improved=signed_rank.p_value([-each - self.null for each in log_ratios]),
            p_ok=signed_rank.p_value([self.margin - each for each in log_ratios]),
        )

    def answer(self, evidence: _Evidence, rule: Rule, look: int) -> Verdict | None:
        assert evidence.p_improved is not None
        level = rule.level(look)
        if evidence.p_regressed <= level:
            return Verdict.REGRESSED
        if evidence.p_improved <= level:
            return Verdict.IMPROVED
        if evidence.p_ok > rule.beta * rule.weights[look] or evidence.p_regressed <= _UNSUSPICIOUS:
            return None
        last = look == len(rule.looks) - 1
        return Verdict.PASS if last or evidence.p_improved > _UNSUSPICIOUS else None


@dataclass(frozen=True)
class _Faster:
    null: float

    def weigh(self, log_ratios: Sequence[float]) -> _Evidence:
        return _Evidence(
            p_regressed=signed_rank.p_value([each + self.null for each in log_ratios]),
            p_improved=None,
            p_ok=signed_rank.p_value([-each - self.null for each in log_ratios]),
        )

    def answer(self, evidence: _Evidence, rule: Rule, look: int) -> Verdict | None:
        if evidence.p_ok <= rule.level(look):
            return Verdict.PASS
        return Verdict.OVER_LIMIT if evidence.p_regressed <= rule.level(look) else None


def _replay(rule: Rule, log_ratios: Sequence[float], question: _Question) -> Decision:
    last = len(rule.looks) - 1
    reached = [sessions for sessions in rule.looks if sessions <= len(log_ratios)]
    look, verdict, mde = None, None, None
    for look, sessions in enumerate(reached):
        verdict = question.answer(question.weigh(log_ratios[:sessions]), rule, look)
        if verdict is None and look == last:
            verdict = Verdict.INCONCLUSIVE
        if verdict:
            log_ratios = log_ratios[:sessions]
            break
    if look is not None:
        mde = minimum_detectable_effect(log_ratios, question.null, rule.looks[last], rule.level(last))
    evidence = question.weigh(log_ratios)
    return Decision(
        verdict=verdict,
        look=look,
        sessions=len(log_ratios),
        change=signed_rank.hodges_lehmann(log_ratios) if log_ratios else None,
        interval=signed_rank.interval(log_ratios, 1 - rule.alpha),
        p_regressed=evidence.p_regressed,
        p_improved=evidence.p_improved,
        p_ok=evidence.p_ok,
        mde=mde,
    )


def _least_sessions(level: float) -> int:
    return math.ceil(-math.log2(level))
