"""How far what is likely now is from what was, at some positions and of their likeliest tokens alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.records import Rounding
from pytest_llm.stats.divergence import log_softmax
from pytest_llm.stats.tolerance import MARGIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from pytest_llm.records import LogprobSample

    Likely = dict[int, float]

# Enough for every kind of text in the prompt; each is a line of a file that people look at.
_ROWS = 48
_TOKENS_MOST = 8
# Digits of a logarithm. What is left of a distribution beside the tokens that are kept is the difference of
# nearly equal numbers: with less than six, it would be further off than exact weights ever are.
_DIGITS = 6
_LEAST_REST = 1e-9
# What rounding to so many digits comes to.
_PRINTED = 1e-8
# A divergence grows with the square of the change of a logarithm.
_LEAD_MARGIN = math.sqrt(MARGIN)


class Apart(NamedTuple):
    """How far two samples are apart.

    Attributes:
        mean_kl: The mean over positions of the KL divergence of the one now from the one before, in nats, of
            the tokens that were kept and the rest as one: at most that of the whole distributions.
        max_kl: The largest.
        lead: The largest change of how much likelier the first token is than the second.
        row: Where the divergence is the largest.
        token: Whose probability changed most there, in what it adds to the divergence.
        before: The logarithm of its probability then.
        now: And now.
    """

    mean_kl: float
    max_kl: float
    lead: float
    row: int
    token: int
    before: float
    now: float


class Allowed(NamedTuple):
    """How large each may be without anything being wrong."""

    mean_kl: float
    max_kl: float
    lead: float


def rows_of(positions: int, ends: Iterable[int]) -> list[int]:
    """Return which rows of logits to sample: spread evenly, and the last one of each passage.

    Args:
        positions: How many rows there are.
        ends: The last row of each passage.
    """
    count = min(_ROWS, positions)
    spread = {index * (positions - 1) // max(1, count - 1) for index in range(count)}
    return sorted(spread | set(ends))


def sample(
    logits: NDArray[Any], rows: Sequence[int], top_k: int, stored: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return what is likely at some rows of logits, see ``records.LogprobSample``.

    Args:
        logits: Positions by vocabulary, finite.
        rows: Which of the positions.
        top_k: Keep so many tokens, and never more than 8.
        stored: What it will be compared with: its tokens are kept as well.
    """
    also = dict(map(read, stored))
    return tuple(
        _line(row, values, min(top_k, _TOKENS_MOST), also.get(row, {}))
        for row, values in zip(rows, log_softmax(logits[list(rows)]), strict=True)
    )


def _line(row: int, values: NDArray[Any], top_k: int, also: Mapping[int, float]) -> str:
    best = [int(each) for each in (-values).argsort(kind="stable")[:top_k]]
    known = [each for each in also if each not in best and each < len(values)]
    return " ".join([str(row), *(f"{each}:{values[each]:.{_DIGITS}f}" for each in (*best, *known))])


def read(line: str) -> tuple[int, Likely]:
    """Return a sampled position's row, and the logarithms of the probabilities of its tokens."""
    row, *likely = line.split()
    pairs = (each.partition(":") for each in likely)
    return int(row), {int(token): float(value) for token, _, value in pairs}


def apart(stored: LogprobSample, now: LogprobSample) -> Apart:
    """Compare what is likely now with what was, at the same rows.

    Args:
        stored: What the tokens are taken from.
        now: Of the same rows, with all of those tokens.
    """
    found = [_row_apart(one, other) for one, other in zip(stored.likely, now.likely, strict=True)]
    worst = max(found, key=lambda each: each.max_kl)
    mean = sum(each.mean_kl for each in found) / len(found)
    return worst._replace(mean_kl=mean, lead=max(each.lead for each in found))


def _row_apart(stored: str, now: str) -> Apart:
    row, before = read(stored)
    same_row, after = read(now)
    assert row == same_row, "the question was the same"
    parts = {each: math.exp(before[each]) * (before[each] - after[each]) for each in before}
    rest = max(_LEAST_REST, 1 - sum(map(math.exp, before.values())))
    rest_now = max(_LEAST_REST, 1 - sum(math.exp(after[each]) for each in before))
    kl = max(0.0, sum(parts.values()) + rest * math.log(rest / rest_now))
    token = max(parts, key=lambda each: abs(parts[each]))
    first, second = (*before, *before)[:2]
    lead = abs((after[first] - after[second]) - (before[first] - before[second]))
    return Apart(kl, kl, lead, row, token, before[token], after[token])


def rounding(name: str, stored: LogprobSample, variant: LogprobSample) -> Rounding:
    """Return how far a benign variant is from what it is a variant of."""
    found = apart(stored, variant)
    return Rounding(name, *(float(f"{each:.3g}") for each in found[:3]))


def allowed(stored: LogprobSample) -> Allowed | None:
    """Return how far a build may be from what is stored; None where no variant was measured."""
    if not stored.rounding:
        return None
    return Allowed(
        max(_PRINTED, MARGIN * max(each.mean_kl for each in stored.rounding)),
        max(_PRINTED, MARGIN * max(each.max_kl for each in stored.rounding)),
        max(_PRINTED, _LEAD_MARGIN * max(each.lead for each in stored.rounding)),
    )


def outside(stored: LogprobSample, now: LogprobSample) -> bool:
    """Whether what is likely now is further from what was than it may be; without variants nothing is."""
    limit = allowed(stored)
    if limit is None:
        return False
    found = apart(stored, now)
    return found.mean_kl > limit.mean_kl or found.max_kl > limit.max_kl
