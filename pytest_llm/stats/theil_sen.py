"""Theil–Sen slope of a series of equal steps, with its confidence interval."""

from __future__ import annotations

import math
from collections import Counter
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llm.records import Series

CONFIDENCE = 0.99


def slopes(series: Series) -> list[float]:
    """Return the slopes between all pairs of values, per token.

    Their median is the estimator of Theil (1950) and Sen (1968). It tolerates up to 29 % of outlying values,
    such as a single large allocation.
    """
    values = series.values
    return [
        (values[later] - values[earlier]) / ((later - earlier) * series.tokens)
        for earlier in range(len(values))
        for later in range(earlier + 1, len(values))
    ]


def interval(series: Series, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return the confidence interval of the slope, or None if there are too few values.

    Sen (1968), "Estimates of the regression coefficient based on Kendall's tau", Journal of the American
    Statistical Association 63, 1379-1389: the normal approximation of Kendall's S, corrected for ties. It
    assumes independent deviations from the line, which memory that is released late violates slightly.
    """
    found = sorted(slopes(series))
    count = len(series.values)
    equal = Counter(series.values).values()
    variance = (_variance_term(count) - sum(map(_variance_term, equal))) / 18
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance)
    low = math.floor((len(found) - reach) / 2) - 1
    high = math.ceil((len(found) + reach) / 2)
    if not found or (variance > 0 and (low < 0 or high >= len(found))):
        return None
    return found[max(low, 0)], found[min(high, len(found) - 1)]


def _variance_term(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)
