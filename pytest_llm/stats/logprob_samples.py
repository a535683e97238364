"""Divergence of distributions of the next token, from the likeliest tokens at some positions alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.records import Divergence, Furthest
from pytest_llm.stats.divergence import log_softmax
from pytest_llm.stats.summary import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from pytest_llm.records import LogprobSample

# Enough for every kind of text in the prompt; each is a line of a file that people read.
_ROWS = 48
_MOST_TOKENS = 8
# Digits of a logarithm. The probability left for all other tokens is a difference of nearly equal numbers:
# with fewer than six digits, it would be further off than exact weights ever are.
_DIGITS = 6
_LEAST_REST = 1e-9
# The divergence that rounding to these digits comes to, in nats.
RESOLUTION = 1e-8


def rows_of(positions: int, ends: Iterable[int]) -> list[int]:
    """Return the rows to sample: evenly spread ones, and ``ends``, the last one of each passage."""
    count = min(_ROWS, positions)
    spread = {index * (positions - 1) // max(1, count - 1) for index in range(count)}
    return sorted(spread | set(ends))


def sample(
    logits: NDArray[Any], rows: Sequence[int], top_k: int, stored: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the lines of a sample of finite logits; the tokens of ``stored`` lines are kept as well."""
    also = dict(map(read, stored))
    return tuple(
        _line(row, values, min(top_k, _MOST_TOKENS), also.get(row, {}))
        for row, values in zip(rows, log_softmax(logits[list(rows)]), strict=True)
    )


def _line(row: int, values: NDArray[Any], top_k: int, also: Mapping[int, float]) -> str:
    best = [int(each) for each in (-values).argsort(kind="stable")[:top_k]]
    known = [each for each in also if each not in best and each < len(values)]
    return " ".join([str(row), *(f"{each}:{values[each]:.{_DIGITS}f}" for each in (*best, *known))])


def read(line: str) -> tuple[int, dict[int, float]]:
    """Return the row of a line of a sample, and the log-probability of each token."""
    row, *likely = line.split()
    pairs = (each.partition(":") for each in likely)
    return int(row), {int(token): float(value) for token, _, value in pairs}


def sample_divergence(stored: LogprobSample, now: LogprobSample) -> Divergence:
    """Compare the stored tokens, and all others as one: KL is at most that of the whole distributions."""
    rows = [_compare(*each) for each in zip(stored.lines, now.lines, strict=True)]
    furthest = max(rows, key=lambda each: each.kl)
    return Divergence(
        positions=len(rows),
        mean_kl=sum(each.kl for each in rows) / len(rows),
        tail_kl=furthest.kl,
        max_kl=furthest.kl,
        flips=sum(each.flip for each in rows),
        top_change=percentile([each.top_change for each in rows], 99),
        lead_change=max(each.lead_change for each in rows),
        furthest=furthest.furthest,
    )


class _Row(NamedTuple):
    kl: float
    flip: bool
    top_change: float
    lead_change: float
    furthest: Furthest


def _compare(stored: str, now: str) -> _Row:
    row, before = read(stored)
    same_row, after = read(now)
    assert row == same_row, "the positions are the same"
    parts = {each: math.exp(before[each]) * (before[each] - after[each]) for each in before}
    rest = max(_LEAST_REST, 1 - sum(map(math.exp, before.values())))
    rest_now = max(_LEAST_REST, 1 - sum(math.exp(after[each]) for each in before))
    token = max(parts, key=lambda each: abs(parts[each]))
    first, second = (*before, *before)[:2]
    return _Row(
        kl=max(0.0, sum(parts.values()) + rest * math.log(rest / rest_now)),
        flip=first != next(iter(after)),
        top_change=max(abs(after[each] - before[each]) for each in before),
        lead_change=abs((after[first] - after[second]) - (before[first] - before[second])),
        furthest=Furthest(row, token, before[token], after[token]),
    )
