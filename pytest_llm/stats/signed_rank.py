"""Wilcoxon's signed-rank test, exact with and without ties, with the estimate and interval that belong to it.

Under the null hypothesis the values are symmetric about 0, so that, given their sizes, every pattern of signs
is equally likely. Ranks are doubled throughout: midranks become integers, and one distribution, counted in
integers, serves samples with and without ties (Hollander, Wolfe and Chicken, "Nonparametric statistical
methods", 3rd edition, sections 3.1 to 3.3).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def p_value(values: Sequence[float]) -> float:
    """Return the exact one-sided p-value of "these lie above 0".

    Zeros are dropped; nothing but zeros is 1. Without zeros and ties it never rises when a value does (a
    value that leaves 0 adds a rank, which can raise it: Pratt 1959, "Remarks on zeros and ties in the
    Wilcoxon signed rank procedures", Journal of the American Statistical Association 54, 655-667).
    """
    kept = [value for value in values if value != 0]
    ranks = _doubled_midranks([abs(value) for value in kept])
    above = sum(rank for rank, value in zip(ranks, kept, strict=True) if value > 0)
    return _ways_to_reach(tuple(sorted(ranks)))[above] / (1 << len(kept))


@lru_cache(maxsize=256)
def critical_sum(count: int, level: float) -> int | None:
    """Return the least sum of positive ranks whose p-value is at most that level, without ties.

    It is also the number of positive Walsh averages that it takes (Tukey 1949). None where not even a sample
    that lies wholly above 0 is that improbable.
    """
    ways = _ways_to_reach(tuple(range(2, 2 * count + 1, 2)))
    return next((rank_sum for rank_sum, way in enumerate(ways[::2]) if way / (1 << count) <= level), None)


def walsh_averages(values: Sequence[float]) -> list[float]:
    """Return the means of all pairs, each value with itself included, in ascending order."""
    return sorted((low + values[j]) / 2 for i, low in enumerate(values) for j in range(i, len(values)))


def hodges_lehmann(values: Sequence[float]) -> float:
    """Return the estimate of the centre that belongs to the test: the median of the Walsh averages.

    Args:
        values: At least one.
    """
    return median(walsh_averages(values))


def interval(values: Sequence[float], confidence: float) -> tuple[float, float] | None:
    """Return the centres that the two-sided test does not reject at 1 - confidence, as an interval.

    Its ends are order statistics of the Walsh averages; ties make it cover more often than it says, not less.
    None where there are too few values for that confidence: even the widest interval would promise too much.
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
    """Return, for every sum from 0 to that of all ranks, how many sign patterns give at least that sum.

    The number of patterns by sum is a product of polynomials 1 + x^rank. Packed into one integer, each
    coefficient in a slot of its own, the convolution is a shift and an addition for each rank.
    """
    slot = len(ranks) // 8 + 1  # bytes; 2**len(ranks) fits
    packed = 1
    for rank in ranks:
        packed += packed << (8 * slot * rank)
    sums = sum(ranks) + 1
    raw = packed.to_bytes(slot * sums, "little")
    ways = (int.from_bytes(raw[slot * each : slot * (each + 1)], "little") for each in reversed(range(sums)))
    return tuple(accumulate(ways))[::-1]
