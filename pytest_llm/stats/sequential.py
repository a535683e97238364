"""Sequential signed-rank test for paired sessions, shared by all questions of a run.

The unit is the session: one log ratio of times, candidate / reference, so that positive is worse. The order
of the two subjects is random. Two equal subjects therefore give log ratios of random sign, whatever the
machine does, and the error rate holds without further assumptions. The looks share it by their weights
(Bonferroni), the questions of a look by Hochberg's step-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pytest_llm.records import Gate, Verdict
from pytest_llm.records.schema import AboveZero, NonNegative, Positive, Share, constraint
from pytest_llm.records.units import BYTES
from pytest_llm.stats import signed_rank
from pytest_llm.stats.log_ratios import Observations

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from pytest_llm.records import Claim

ALPHA = 0.01  # false "regressed", and false "improved", of a whole run of pytest
QUICK_ALPHA = 0.05
BETA = 0.05  # false "pass" of each metric
NEGLIGIBLE = 1 / 5  # of the tolerance, in logarithms: too small to matter
TAU = 0.003  # the spread of what belongs to one build but not to its code, on a machine that is not qualified
SHARES = {"typical": 0.75, "whole": 0.25}  # of alpha
_FIRST, _LEAST, _QUICK = 6, 10, 6  # sessions
_UNSUSPICIOUS = 0.2  # no "pass" while the p-value of "regressed" is below this


@dataclass(frozen=True)
class Rule:
    """The looks of a sequential test and its error rates.

    Attributes:
        alpha_weights: The share of alpha that each look spends; their sum is 1.
        beta_weights: The share of beta that each look spends; their sum is 1.
        looks: The number of sessions at each look; ascending.
        family: The number of questions that share alpha.
        tau: The spread of what belongs to one build but not to its code, in logarithms.
    """

    alpha: Share
    beta: Share
    alpha_weights: Annotated[tuple[NonNegative, ...], constraint(minItems=1)]
    beta_weights: Annotated[tuple[AboveZero, ...], constraint(minItems=1)]
    looks: Annotated[tuple[Positive, ...], constraint(minItems=1)]
    family: Positive
    tau: NonNegative = TAU

    @property
    def least_sessions(self) -> int:
        """The sessions that a loss in one metric alone takes to be called."""
        return self.looks[-1] // 2 if len(self.looks) > 1 else self.looks[0]

    def level(self, look: int, observation: str = "typical") -> float:
        """Return the significance level at a look, counted from 0, that the whole family shares."""
        return self.alpha * SHARES[observation] * self.alpha_weights[look]


def rule_for(effort: str, family: int, tau: float = TAU) -> Rule:
    """Return the rule of an effort for a family of distinct gated (campaign, workload, metric).

    A look after 6 sessions can only pass. A loss in one metric alone can be called as soon as a sample can be
    significant, but not before 10 sessions (6 with "quick", which has one look); a loss in all metrics, after
    10 sessions of any family.
    """
    if effort == "quick":
        sessions = max(_QUICK, _sessions_to_reach(QUICK_ALPHA * SHARES["typical"] / family))
        return Rule(QUICK_ALPHA, BETA, (1.0,), (1.0,), (sessions,), family, tau)
    n1 = max(_LEAST, _sessions_to_reach(ALPHA * SHARES["typical"] * 0.3 / family))
    n1 *= {"normal": 1, "thorough": 2}[effort]
    later = (n1, math.ceil(1.5 * n1), 2 * n1)
    if n1 == _LEAST:
        looks, alpha, beta = (_FIRST, *later), (0.0, 0.3, 0.3, 0.4), (0.3125, 0.2, 0.2, 0.2875)
        return Rule(ALPHA, BETA, alpha, beta, looks, family, tau)
    return Rule(
        ALPHA,
        BETA,
        (0.0, 0.15, 0.3, 0.25, 0.3),
        (0.3125, 0.1, 0.15, 0.2, 0.2375),
        (_FIRST, _LEAST, *later),
        family,
        tau,
    )


def _sessions_to_reach(level: float) -> int:
    return math.ceil(-math.log2(level))


def margin_of(asked: Gate | Claim) -> float:
    """Return the log ratio that is asked about: the tolerance, or the gain that is claimed."""
    return math.log1p(asked.tolerance if isinstance(asked, Gate) else asked.by)


def negligible_of(gate: Gate, tau: float) -> float:
    """Return the log ratio from which on a gate can fail: max(M / 5, 3 tau); of sizes, M / 5.

    A gate may name another size than a fifth of its tolerance. tau is the spread of times, not of sizes.
    """
    asked = margin_of(gate) * NEGLIGIBLE if gate.negligible is None else math.log1p(gate.negligible)
    return asked if gate.metric.unit is BYTES else max(asked, 3 * tau)


class Member(NamedTuple):
    """A question of the family, and what is seen of it so far.

    Attributes:
        observe: Returns what the first so many sessions show.
        sessions: How many sessions show the metric.
        campaign: The place of its campaign in the order in which campaigns are measured.
        pair: Equal for the questions about the same two runs: one that regressed ends the sessions of all.
    """

    asked: Gate | Claim
    observe: Callable[[int], Observations]
    sessions: int
    campaign: int = 0
    pair: Hashable = None


@dataclass(frozen=True)
class Decision:
    """The state of a question.

    Attributes:
        verdict: None while more sessions are needed.
        look: The look that decided, or the latest one, counted from 0; None before the first.
        sessions: How many the numbers rest on.
        observation: The one that decided, "typical" or "whole": the worse of the two.
        log_ratios: Of that observation.
        p_regressed: Against "slower by no more than the negligible part"; for a claim, against "faster by the
            claimed ratio".
        p_improved: Against "faster by no more than the negligible part"; for a claim, equal to p_ok.
        p_ok: Against "slower by the tolerance or more"; for a claim, against "not faster by that ratio".
        level: The largest p-value that would have been called; None if none was.
        stopped: The sessions ended because another metric of the same runs regressed.
    """

    verdict: Verdict | None
    look: int | None
    sessions: int
    observation: str
    log_ratios: tuple[float, ...] = field(repr=False)
    p_regressed: float
    p_improved: float
    p_ok: float
    level: float | None = None
    stopped: bool = False


def decide(rule: Rule, asked: Gate | Claim, seen: Observations) -> Decision:
    """Decide a question while nothing is known of the rest of its family."""

    def observe(sessions: int) -> Observations:
        return Observations(seen.typical[:sessions], None if seen.whole is None else seen.whole[:sessions])

    return decide_family(rule, [Member(asked, observe, len(seen.typical))])[0]


def conclude(decision: Decision) -> Decision:
    """Return the final decision: without further sessions, an open verdict is inconclusive."""
    return decision if decision.verdict else replace(decision, verdict=Verdict.INCONCLUSIVE)


def decide_family(rule: Rule, members: Sequence[Member]) -> list[Decision]:
    """Decide all questions of a run together, or find that some need more sessions.

    At each look the questions of a campaign that are still open share alpha by Hochberg's step-up with those
    that earlier campaigns had open at the same look; all others of the family count with a p-value of 1. The
    first look that decides is final: later sessions or campaigns change nothing.

    Returns:
        One for each member, in order.
    """
    found: dict[int, Decision] = {}
    tested: list[list[_Evidence]] = [[] for _ in rule.looks]
    for campaign in sorted({each.campaign for each in members}):
        waiting = [place for place, each in enumerate(members) if each.campaign == campaign]
        for look, sessions in enumerate(rule.looks):
            due = {
                place: _weigh(rule, members[place], sessions)
                for place in waiting
                if members[place].sessions >= sessions
            }
            tested[look] += due.values()
            levels = _levels(rule, look, tested[look])
            found |= {place: _answer(rule, look, each, levels) for place, each in due.items()}
            waiting = [place for place in waiting if place not in due or found[place].verdict is None]
            regressed = {members[place].pair for place in due if found[place].verdict is Verdict.REGRESSED}
            stopped = [place for place in waiting if members[place].pair in regressed]
            waiting = [place for place in waiting if place not in stopped]
            for place in stopped:
                found[place] = replace(
                    _undecided(rule, members[place], found.get(place), sessions), stopped=True
                )
        for place in waiting:  # the numbers rest on every session so far
            found[place] = _undecided(rule, members[place], found.get(place), members[place].sessions)
    return [found[place] for place in range(len(members))]


def step_up(p_values: Iterable[float], family: int, level: float) -> float:
    """Return the largest p-value that Hochberg's step-up rejects at a level.

    Members of the family without a p-value count with 1. Hochberg (1988), "A sharper Bonferroni procedure for
    multiple tests of significance", Biometrika 75, 800-802; valid for independent or positively dependent
    p-values (Sarkar 1998, Annals of Statistics 26, 494-504).
    """
    ascending = sorted(p_values)
    family = max(family, len(ascending))
    for rank in range(len(ascending), 0, -1):
        if ascending[rank - 1] <= level / (family - rank + 1):
            return level / (family - rank + 1)
    return level / family


class _Part(NamedTuple):
    """The p-values of one observation; ``worse`` and ``better`` share alpha with those of other questions."""

    observation: str
    log_ratios: tuple[float, ...]
    worse: float
    better: float
    ok: float


class _Evidence(NamedTuple):
    asked: Gate | Claim
    pair: Hashable
    parts: tuple[_Part, ...]

    def losses(self, observation: str) -> list[float]:
        """Return the p-value of a loss that enters the step-up of an observation, if there is one."""
        return [each.worse for each in self.parts if each.observation == observation]

    def gains(self, observation: str) -> list[float]:
        """Return the p-value of a gain that enters the step-up of an observation, if there is one.

        A claim holds for both observations or not at all, so that they need not share alpha.
        """
        if not isinstance(self.asked, Gate):
            return [max(each.better for each in self.parts)] if observation == "typical" else []
        return [each.better for each in self.parts if each.observation == observation]


def _weigh(rule: Rule, member: Member, sessions: int) -> _Evidence:
    asked, margin = member.asked, margin_of(member.asked)
    parts = []
    for name, values in member.observe(sessions)._asdict().items():
        if values is None:
            continue
        if isinstance(asked, Gate):
            null = negligible_of(asked, rule.tau)
            worse = signed_rank.p_value([each - null for each in values])
            better = signed_rank.p_value([-each - null for each in values])
            ok = signed_rank.p_value([margin - each for each in values])
        else:
            worse = signed_rank.p_value([each + margin for each in values])
            better = ok = signed_rank.p_value([-each - margin for each in values])
        parts.append(_Part(name, tuple(values), worse, better, ok))
    return _Evidence(asked, (member.campaign, member.pair), tuple(parts))


class _Level(NamedTuple):
    worse: float
    better: float


def _levels(rule: Rule, look: int, tested: Sequence[_Evidence]) -> Mapping[str, _Level]:
    found = {}
    for name in SHARES:
        losses = _smallest((each, each.losses(name)) for each in tested)
        gains = _smallest((each, each.gains(name)) for each in tested)
        level = rule.level(look, name)
        found[name] = _Level(step_up(losses, rule.family, level), step_up(gains, rule.family, level))
    return found


def _smallest(found: Iterable[tuple[_Evidence, list[float]]]) -> list[float]:
    """Return one p-value for each metric of each pair: questions that differ by their sizes are nested."""
    smallest: dict[Hashable, float] = {}
    for each, p_values in found:
        key = each.pair, each.asked.metric.name, isinstance(each.asked, Gate)
        for p in p_values:
            smallest[key] = min(p, smallest.get(key, 1.0))
    return list(smallest.values())


def _answer(rule: Rule, look: int, evidence: _Evidence, levels: Mapping[str, _Level]) -> Decision:
    parts = evidence.parts
    worse = [each for each in parts if each.worse <= levels[each.observation].worse]
    if worse:
        part = min(worse, key=lambda each: each.worse)
        verdict = Verdict.REGRESSED if isinstance(evidence.asked, Gate) else Verdict.OVER_LIMIT
        return _decision(verdict, look, part, levels[part.observation].worse)
    last = look == len(rule.looks) - 1
    if not isinstance(evidence.asked, Gate):
        part = max(parts, key=lambda each: each.better)
        if part.better <= levels["typical"].better:
            return _decision(Verdict.PASS, look, part, levels["typical"].better)
        return _decision(Verdict.INCONCLUSIVE if last else None, look, part)
    better = [each for each in parts if each.better <= levels[each.observation].better]
    spent = rule.beta * rule.beta_weights[look]
    fine = [each for each in parts if each.ok <= spent and each.worse > _UNSUSPICIOUS]
    if better and all(each in better or each in fine for each in parts):
        return _decision(Verdict.IMPROVED, look, better[0], levels[better[0].observation].better)
    passing = [each for each in fine if last or each.better > _UNSUSPICIOUS]
    if len(passing) == len(parts):
        part = max(parts, key=lambda each: signed_rank.upper_bound(each.log_ratios, spent) or 0.0)
        return _decision(Verdict.PASS, look, part, spent)
    part = next(each for each in parts if each not in passing)
    return _decision(Verdict.INCONCLUSIVE if last else None, look, part)


def _undecided(rule: Rule, member: Member, latest: Decision | None, sessions: int) -> Decision:
    part = _weigh(rule, member, sessions).parts[0]
    return _decision(None, None if latest is None else latest.look, part)


def _decision(verdict: Verdict | None, look: int | None, part: _Part, level: float | None = None) -> Decision:
    return Decision(
        verdict=verdict,
        look=look,
        sessions=len(part.log_ratios),
        observation=part.observation,
        log_ratios=part.log_ratios,
        p_regressed=part.worse,
        p_improved=part.better,
        p_ok=part.ok,
        level=level,
    )
