"""Divergence of log-probabilities that are stored for a sample of positions and their likeliest tokens."""

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

_ROWS = 48  # covers every kind of text in the prompts; each is a line of a file that people read
_MOST_TOKENS = 8
# Of a logarithm. The probability of all other tokens is a difference of nearly equal numbers; fewer digits
# would make its error larger than the divergence of exact weights.
_DIGITS = 6
_LEAST_REST = 1e-9
_PRINTED = 1e-8  # the divergence that rounding to these digits causes
_LEAD_MARGIN = math.sqrt(MARGIN)  # a divergence grows with the square of the change of a logarithm


class Apart(NamedTuple):
    """The distance of two samples.

    Attributes:
        mean_kl: Mean KL divergence over positions, in nats, of the stored tokens with all others as one: a
            lower bound of the divergence of the full distributions.
        max_kl: The largest KL divergence of a position.
        lead: The largest change of the log-probability difference of the two likeliest tokens, in nats.
        row: The row with the largest divergence.
        token: The token that contributes most to it.
        before: The stored log-probability of that token.
        now: Its current log-probability.
    """

    mean_kl: float
    max_kl: float
    lead: float
    row: int
    token: int
    before: float
    now: float


class Allowed(NamedTuple):
    """The largest harmless value of each."""

    mean_kl: float
    max_kl: float
    lead: float


def rows_of(positions: int, ends: Iterable[int]) -> list[int]:
    """Return the rows of logits to sample: evenly spread ones, and the last one of each passage.

    Args:
        positions: The number of rows.
        ends: The last row of each passage.
    """
    count = min(_ROWS, positions)
    spread = {index * (positions - 1) // max(1, count - 1) for index in range(count)}
    return sorted(spread | set(ends))


def sample(
    logits: NDArray[Any], rows: Sequence[int], top_k: int, stored: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the likeliest tokens at some rows of logits, as lines of ``records.LogprobSample``.

    Args:
        logits: Shape (positions, vocabulary), finite.
        rows: The rows to sample.
        top_k: The number of tokens to keep, at most 8.
        stored: Lines to compare with later: their tokens are kept as well.
    """
    also = dict(map(read, stored))
    return tuple(
        _line(row, values, min(top_k, _MOST_TOKENS), also.get(row, {}))
        for row, values in zip(rows, log_softmax(logits[list(rows)]), strict=True)
    )


def _line(row: int, values: NDArray[Any], top_k: int, also: Mapping[int, float]) -> str:
    best = [int(each) for each in (-values).argsort(kind="stable")[:top_k]]
    known = [each for each in also if each not in best and each < len(values)]
    return " ".join([str(row), *(f"{each}:{values[each]:.{_DIGITS}f}" for each in (*best, *known))])


def read(line: str) -> tuple[int, Likely]:
    """Return the row of a line of a sample, and the log-probability of each token."""
    row, *likely = line.split()
    pairs = (each.partition(":") for each in likely)
    return int(row), {int(token): float(value) for token, _, value in pairs}


def apart(stored: LogprobSample, now: LogprobSample) -> Apart:
    """Return the distance of a sample from a stored one.

    Args:
        stored: The stored sample.
        now: A sample of the same rows that has all of its tokens.
    """
    found = [_row_apart(one, other) for one, other in zip(stored.likely, now.likely, strict=True)]
    worst = max(found, key=lambda each: each.max_kl)
    mean = sum(each.mean_kl for each in found) / len(found)
    return worst._replace(mean_kl=mean, lead=max(each.lead for each in found))


def _row_apart(stored: str, now: str) -> Apart:
    row, before = read(stored)
    same_row, after = read(now)
    assert row == same_row, "both sample the same rows"
    parts = {each: math.exp(before[each]) * (before[each] - after[each]) for each in before}
    rest = max(_LEAST_REST, 1 - sum(map(math.exp, before.values())))
    rest_now = max(_LEAST_REST, 1 - sum(math.exp(after[each]) for each in before))
    kl = max(0.0, sum(parts.values()) + rest * math.log(rest / rest_now))
    token = max(parts, key=lambda each: abs(parts[each]))
    first, second = (*before, *before)[:2]
    lead = abs((after[first] - after[second]) - (before[first] - before[second]))
    return Apart(kl, kl, lead, row, token, before[token], after[token])


def rounding(name: str, stored: LogprobSample, variant: LogprobSample) -> Rounding:
    """Return the distance of a benign variant from its original, rounded to 3 digits."""
    found = apart(stored, variant)
    return Rounding(name, *(float(f"{each:.3g}") for each in found[:3]))


def allowed(stored: LogprobSample) -> Allowed | None:
    """Return the tolerance of a stored sample, or None if it has no benign variants."""
    if not stored.rounding:
        return None
    return Allowed(
        max(_PRINTED, MARGIN * max(each.mean_kl for each in stored.rounding)),
        max(_PRINTED, MARGIN * max(each.max_kl for each in stored.rounding)),
        max(_PRINTED, _LEAD_MARGIN * max(each.lead for each in stored.rounding)),
    )


def outside(stored: LogprobSample, now: LogprobSample) -> bool:
    """Return whether a sample exceeds the tolerance of a stored one; False if that has no variants."""
    limit = allowed(stored)
    if limit is None:
        return False
    found = apart(stored, now)
    return found.mean_kl > limit.mean_kl or found.max_kl > limit.max_kl
