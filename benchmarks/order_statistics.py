"""Intervals that assume nothing about how times are distributed."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the median and the order statistics that enclose it with at least that confidence.

    The number of values below the true median is binomial with p = 1/2 (Conover, "Practical nonparametric
    statistics", 3rd edition, section 3.2). With too few values the ends are the extremes.
    """
    ordered = sorted(values)
    count = len(ordered)
    below = 0
    while 2 * _at_most(below + 1, count) <= 1 - confidence:
        below += 1
    return statistics.median(ordered), ordered[below], ordered[count - 1 - below]


def _at_most(successes: int, count: int) -> float:
    """Return P(X <= successes) for X ~ Binomial(count, 1/2)."""
    ways: int = sum(math.comb(count, k) for k in range(successes + 1))
    return ways / float(2**count)
