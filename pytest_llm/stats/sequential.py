"""A candidate against a reference, session by session: the rule that gates.

The unit is the session: one log ratio of times, candidate by reference, so that positive is worse. The order
of the two subjects is drawn by coin flip, so that with two equal subjects its sign is a coin flip as well,
whatever the machine does; that alone carries the bound on false alarms. Sessions are looked at up to three
times, and the looks share the error rate by their weights (Bonferroni).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from pytest_llm.records import Verdict
from pytest_llm.stats import signed_rank
from pytest_llm.stats.power import minimum_detectable_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records.metrics import Metric

ALPHA = 0.01  # false "regressed", and false "improved", for a whole run of pytest
QUICK_ALPHA = 0.05
BETA = 0.05  # false "pass", for each metric
WEIGHTS = (0.3, 0.3, 0.4)
NEGLIGIBLE = 1 / 5  # of the tolerance, in logarithms: too small to matter
# A "pass" beside evidence that points the other way would be hasty.
_UNSUSPICIOUS = 0.2


@dataclass(frozen=True)
class Rule:
    """When to look, and which error rates hold.

    Attributes:
        alpha: Error rate of false "regressed", and of false "improved", for the family.
        beta: Error rate of a false "pass", for each metric.
        weights: The part of alpha and beta that each look may spend; together 1.
        looks: After how many sessions each look is; ascending.
        family: How many metrics share alpha.
    """

    alpha: float
    beta: float
    weights: tuple[float, ...]
    looks: tuple[int, ...]
    family: int

    def level(self, look: int) -> float:
        """Return the p-value that one metric's alarm needs at a look (0 for the first)."""
        return self.alpha / self.family * self.weights[look]


def rule_for(effort: str, family: int) -> Rule:
    """Return the rule of an effort for so many gated metrics, at least one.

    The first look is where a sample wholly on one side can be significant, but not before 10 sessions (6 with
    "quick", which looks once).

    Args:
        effort: "quick", "normal" or "thorough".
        family: The number of distinct (campaign, workload, metric) that are gated.
    """
    if effort == "quick":
        return Rule(QUICK_ALPHA, BETA, (1.0,), (max(6, _least_sessions(QUICK_ALPHA / family)),), family)
    first = max(10, _least_sessions(ALPHA / family * WEIGHTS[0]))
    first *= {"normal": 1, "thorough": 2}[effort]
    return Rule(ALPHA, BETA, WEIGHTS, (first, math.ceil(1.5 * first), 2 * first), family)


@dataclass(frozen=True)
class Decision:
    """What the sessions say of a metric.

    Attributes:
        verdict: None: go on, another session may tell.
        look: The look that decided, or the last one there was, from 0; None before the first.
        sessions: How many log ratios the numbers rest on.
        change: Of time, as a log ratio: positive is worse (Hodges and Lehmann); None without a session.
        interval: Of the change, at 1 - alpha; None with too few sessions for that.
        p_regressed: Against "not slower than is too small to matter" or, where the question was whether it is
            faster, against "faster by as much".
        p_improved: Against "not faster than is too small to matter"; None where that was not asked.
        p_ok: Against "slower by the tolerance or more" or "not faster by as much".
        mde: The slowdown that this run would have called with 95 % power had it needed its last look, or the
            speed-up that it would have acknowledged, as a ratio: 0.034 is 3.4 %. None before the first look.
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
    """Say whether a candidate regressed, improved or passes, or that more sessions are needed.

    The looks are replayed: the first one that decides does so for good, and sessions after it, made for
    another metric's sake, change nothing.

    Args:
        rule: See ``rule_for``.
        log_ratios: log(time of the candidate / time of the reference), one a session, in order; finite.
        tolerance: The slowdown that must be called, as a ratio: 0.05.
    """
    return _replay(rule, log_ratios, _Slower(math.log1p(tolerance)))


def decide_faster(rule: Rule, log_ratios: Sequence[float], by: float) -> Decision:
    """Say whether a candidate is faster than the reference by at least that ratio, or that it is not.

    Args:
        rule: See ``rule_for``.
        log_ratios: As for ``decide``.
        by: The speed-up that is demanded, as a ratio: 0.05.

    Returns:
        "pass" or "over limit", "inconclusive" after the last look, or no verdict yet.
    """
    return _replay(rule, log_ratios, _Faster(math.log1p(by)))


def conclude(decision: Decision) -> Decision:
    """Return the decision once no session can follow: what is undecided is inconclusive.

    It would have called nothing, however slow: it has no MDE.
    """
    return decision if decision.verdict else replace(decision, verdict=Verdict.INCONCLUSIVE, mde=None)


def change_of(metric: Metric, log_ratio: float) -> float:
    """Return a log ratio of times as the change of the metric: rates fall where latencies rise."""
    return math.expm1(-log_ratio if metric.better == "higher" else log_ratio)


def interval_of(metric: Metric, log_ratios: tuple[float, float]) -> tuple[float, float]:
    """Return an interval of log ratios of times as one of the metric's changes, the lower end first."""
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
        """The size of change beyond which a call is asked for."""

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
    reached = [sessions for sessions in rule.looks if sessions <= len(log_ratios)]
    for look, sessions in enumerate(reached):
        seen = log_ratios[:sessions]
        evidence = question.weigh(seen)
        verdict = question.answer(evidence, rule, look)
        if verdict is None and look == len(rule.looks) - 1:
            verdict = Verdict.INCONCLUSIVE
        if verdict:
            return _describe(verdict, rule, look, seen, evidence, question)
    latest = len(reached) - 1 if reached else None
    return _describe(None, rule, latest, log_ratios, question.weigh(log_ratios), question)


def _describe(
    verdict: Verdict | None,
    rule: Rule,
    look: int | None,
    log_ratios: Sequence[float],
    evidence: _Evidence,
    question: _Question,
) -> Decision:
    mde = None
    if look is not None:
        last = len(rule.looks) - 1  # where a slowdown too small for this look would have been called
        mde = minimum_detectable_effect(log_ratios, question.null, rule.looks[last], rule.level(last))
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
