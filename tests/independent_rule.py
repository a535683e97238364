"""The paired rule once more, written from its specification alone: fractions and adjusted p-values."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from typing import Literal

ALPHA, QUICK_ALPHA, BETA = Fraction("0.01"), Fraction("0.05"), Fraction("0.05")
SHARE = {"typical": Fraction("0.75"), "whole": Fraction("0.25")}
SHORT = {
    "alpha": ("0", "0.3", "0.3", "0.4"),
    "beta": ("0.3125", "0.2", "0.2", "0.2875"),
}
LONG = {
    "alpha": ("0", "0.15", "0.3", "0.25", "0.3"),
    "beta": ("0.3125", "0.1", "0.15", "0.2", "0.2375"),
}

Sessions = dict[str, list[float]]  # by observation, one log ratio a session


@dataclass
class Question:
    """A gate (kind "gate": M and delta0) or a claim (kind "claim": M is the gain), and its sessions."""

    kind: Literal["gate", "claim"]
    size: float
    negligible: float
    campaign: int
    pair: int
    metric: str
    sessions: Sessions
    verdict: str | None = None
    at: int | None = None
    by: str = ""
    over: bool = False  # takes no further part
    shown: dict[int, dict[str, tuple[Fraction, Fraction, Fraction]]] = field(default_factory=dict)


@cache
def schedule(effort: str, m: int) -> tuple[tuple[int, Fraction, Fraction], ...]:
    """Return (sessions, alpha, beta) of each look, from the smallest n with m / (share w alpha) <= 2^n."""

    def least(level: Fraction, floor: int) -> int:
        n = floor
        while Fraction(1, 2**n) > level / m:
            n += 1
        return n

    if effort == "quick":
        return ((least(SHARE["typical"] * QUICK_ALPHA, 6), QUICK_ALPHA, BETA),)
    n1 = least(SHARE["typical"] * Fraction("0.3") * ALPHA, 10) * (2 if effort == "thorough" else 1)
    counts = [6, 10, n1, -(-3 * n1 // 2), 2 * n1] if n1 > 10 else [6, 10, 15, 20]
    weights = LONG if n1 > 10 else SHORT
    return tuple(
        (n, ALPHA * Fraction(a), BETA * Fraction(b))
        for n, a, b in zip(counts, weights["alpha"], weights["beta"], strict=True)
    )


def signed_rank(values: list[float]) -> Fraction:
    """Return the chance that random signs give at least this sum of positive midranks; zeros are dropped."""
    kept = [each for each in values if each != 0]
    ordered = sorted(map(abs, kept))
    # Twice the mean of the places that equal sizes share.
    twice = {size: 2 * ordered.index(size) + ordered.count(size) + 1 for size in set(ordered)}
    reached = sum(twice[abs(each)] for each in kept if each > 0)
    chances = distribution(tuple(twice[each] for each in ordered))
    return Fraction(sum(ways for total, ways in chances.items() if total >= reached), 2 ** len(kept))


@lru_cache(maxsize=2000)
def distribution(ranks: tuple[int, ...]) -> Counter[int]:
    """Return in how many of all choices of signs the positive ranks have each sum."""
    found: Counter[int] = Counter({0: 1})
    for rank in ranks:
        found = found + Counter({total + rank: ways for total, ways in found.items()})
    return found


def p_values(question: Question, n: int) -> dict[str, tuple[Fraction, Fraction, Fraction]]:
    """Return for each observation of n sessions (worse, better, ok)."""
    found = {}
    for name, series in question.sessions.items():
        d = series[:n]
        if question.kind == "gate":
            worse = signed_rank([each - question.negligible for each in d])
            better = signed_rank([-each - question.negligible for each in d])
            found[name] = worse, better, signed_rank([question.size - each for each in d])
        else:
            better = signed_rank([-each - question.size for each in d])
            found[name] = signed_rank([each + question.size for each in d]), better, better
    return found


def rejected(ps: list[Fraction], m: int, alpha: Fraction) -> list[bool]:
    """Hochberg's step-up by adjusted p-values, on a family padded with ones."""
    padded = sorted([*ps, *[Fraction(1)] * (m - len(ps))], reverse=True)
    adjusted: dict[Fraction, Fraction] = {}
    lowest = Fraction(1)
    for place, p in enumerate(padded, start=1):  # the largest first, which is multiplied by 1
        lowest = min(lowest, place * p)
        adjusted[p] = lowest
    return [adjusted[p] <= alpha for p in ps]


def run(effort: str, m: int, questions: list[Question]) -> None:
    """Measure campaign after campaign, session after session, and write the verdicts into the questions."""
    looks = schedule(effort, m)
    for campaign in sorted({each.campaign for each in questions}):
        mine = [each for each in questions if each.campaign == campaign]
        for n in range(1, looks[-1][0] + 1):
            if n in [each[0] for each in looks]:
                going = [q for q in mine if not q.over and len(q.sessions["typical"]) >= n]
                _look(looks, n, m, questions, going)


def _look(
    looks: tuple[tuple[int, Fraction, Fraction], ...],
    n: int,
    m: int,
    questions: list[Question],
    going: list[Question],
) -> None:
    (alpha, beta) = next((a, b) for count, a, b in looks if count == n)
    last = n == looks[-1][0]
    for each in going:
        each.shown[n] = p_values(each, n)
    known = [each for each in questions if n in each.shown]
    called: dict[tuple[int, str, int], bool] = {}
    for name, share in SHARE.items():
        for side in (0, 1):
            # A claim holds if both observations show it: it is tested once, by the larger p-value.
            having = [
                each
                for each in known
                if name in each.shown[n] and not (side and each.kind == "claim" and name == "whole")
            ]
            ps = [
                max(p[1] for p in q.shown[n].values())
                if side and q.kind == "claim"
                else q.shown[n][name][side]
                for q in having
            ]
            # Questions about one metric of one pair are one member: the smallest p-value is its own.
            members = [(q.campaign, q.pair, q.metric, q.kind) for q in having]
            own = {key: min(p for p, k in zip(ps, members, strict=True) if k == key) for key in members}
            bound = max(
                (
                    p
                    for p, yes in zip(own.values(), rejected([*own.values()], m, share * alpha), strict=True)
                    if yes
                ),
                default=Fraction(-1),
            )
            # The step-up rejects up to a level: a larger p-value of the same member may be below it, too.
            count = sum(p > bound for p in own.values()) + (m - len(own))
            level = share * alpha / (count + 1) if bound >= 0 else Fraction(-1)
            called |= {(id(q), name, side): p <= level for q, p in zip(having, ps, strict=True)}
    for each in going:
        mine = {key[1:]: yes for key, yes in called.items() if key[0] == id(each)}
        _verdict(each, n, beta, mine, last=last)
    failed = {each.pair for each in going if each.verdict == "regressed"}
    for each in going:
        each.over = each.verdict is not None or each.pair in failed


def _verdict(
    question: Question, n: int, beta: Fraction, called: dict[tuple[str, int], bool], *, last: bool
) -> None:
    shown = question.shown[n]
    worse = [name for name in shown if called[name, 0]]
    better = [name for name in shown if called.get((name, 1))]
    question.at = n
    if worse:
        question.verdict = "regressed" if question.kind == "gate" else "over limit"
        question.by = min(worse, key=lambda name: shown[name][0])
    elif question.kind == "claim":
        question.verdict = "pass" if better else "inconclusive" if last else None
    else:
        within = [name for name in shown if shown[name][2] <= beta and shown[name][0] > Fraction(1, 5)]
        if better and set(better) | set(within) == set(shown):
            question.verdict, question.by = "improved", better[0]
        elif set(within) == set(shown) and (last or all(each[1] > Fraction(1, 5) for each in shown.values())):
            question.verdict = "pass"
        else:
            question.verdict = "inconclusive" if last else None


def log_sizes(tolerance: float, tau: float) -> tuple[float, float]:
    """Return M and delta0 of a tolerance."""
    m = math.log(1 + tolerance)
    return m, max(m / 5, 3 * tau)
