"""Exact Wilcoxon signed-rank test with its estimate and interval.

Ranks are doubled, so that midranks of ties are integers and one exact distribution serves samples with and
without ties (Hollander, Wolfe and Chicken, "Nonparametric statistical methods", 3rd edition, sections 3.1 to
3.3).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def p_value(values: Sequence[float]) -> float:
    """Return the exact one-sided p-value of the hypothesis that the values lie above 0.

    Zeros are dropped; without other values the p-value is 1. It never rises with a value, unless there are
    zeros or ties (Pratt 1959, "Remarks on zeros and ties in the Wilcoxon signed rank procedures", Journal of
    the American Statistical Association 54, 655-667).
    """
    kept = [value for value in values if value != 0]
    ranks = _doubled_midranks([abs(value) for value in kept])
    above = sum(rank for rank, value in zip(ranks, kept, strict=True) if value > 0)
    return _ways_to_reach(tuple(sorted(ranks)))[above] / (1 << len(kept))


@lru_cache(maxsize=256)
def critical_sum(count: int, level: float) -> int | None:
    """Return the smallest sum of positive ranks that is significant at a level, without ties.

    It equals the number of positive Walsh averages (Tukey 1949). None if no sample of that size can be
    significant.
    """
    ways = _ways_to_reach(tuple(range(2, 2 * count + 1, 2)))
    return next((rank_sum for rank_sum, way in enumerate(ways[::2]) if way / (1 << count) <= level), None)


def walsh_averages(values: Sequence[float]) -> list[float]:
    """Return the means of all pairs, including each value with itself, in ascending order."""
    return sorted((low + values[j]) / 2 for i, low in enumerate(values) for j in range(i, len(values)))


def hodges_lehmann(values: Sequence[float]) -> float:
    """Return the Hodges-Lehmann estimate of the centre: the median of the Walsh averages."""
    return median(walsh_averages(values))


def upper_bound(values: Sequence[float], level: float) -> float | None:
    """Return the least bound that the centre lies below at a level, or None if there are too few values."""
    needed = critical_sum(len(values), level)
    return None if needed is None else walsh_averages(values)[needed - 1]


def interval(values: Sequence[float], confidence: float) -> tuple[float, float] | None:
    """Return the confidence interval of the centre, or None if there are too few values for the confidence.

    Its ends are order statistics of the Walsh averages. With ties it is conservative.
    """
    needed = critical_sum(len(values), (1 - confidence) / 2)
    if needed is None:
        return None
    averages = walsh_averages(values)
    beyond = len(averages) - needed
    return averages[beyond], averages[-1 - beyond]


def _doubled_midranks(sizes: Sequence[float]) -> list[int]:
    ordered = sorted(sizes)
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for rank, size in enumerate(ordered, start=1):
        first.setdefault(size, rank)
        last[size] = rank
    return [first[size] + last[size] for size in sizes]


@lru_cache(maxsize=256)
def _ways_to_reach(ranks: tuple[int, ...]) -> tuple[int, ...]:
    """Return the number of sign patterns that reach each sum, from 0 to the sum of all ranks."""
    # The number of patterns by sum is the product of the polynomials 1 + x^rank. One integer holds all
    # coefficients, so multiplying by such a polynomial is a shift and an addition.
    slot = len(ranks) // 8 + 1  # bytes; 2**len(ranks) fits
    packed = 1
    for rank in ranks:
        packed += packed << (8 * slot * rank)
    sums = sum(ranks) + 1
    raw = packed.to_bytes(slot * sums, "little")
    ways = (int.from_bytes(raw[slot * each : slot * (each + 1)], "little") for each in reversed(range(sums)))
    return tuple(accumulate(ways))[::-1]
