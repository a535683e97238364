"""The slope of a series of equal steps, and how far it can be trusted."""

from __future__ import annotations

import math
from collections import Counter
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llm.records import Series

# Of the interval that is told beside a slope.
CONFIDENCE = 0.99


def slopes(series: Series) -> list[float]:
    """Return the slopes between all pairs of values, for each token.

    Their median is the estimator of Theil and Sen: nearly a third of the values may be anything, such as what
    is allocated once, and it stays what it is.
    """
    values = series.values
    return [
        (values[later] - values[earlier]) / ((later - earlier) * series.tokens)
        for earlier in range(len(values))
        for later in range(earlier + 1, len(values))
    ]


def interval(series: Series, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return the confidence interval of Sen (1968) of the slope, None where there are too few values.

    It rests on the normal approximation of Kendall's S, with equal values accounted for, and holds where what
    values deviate by from a line is independent. Memory that is given back later than it could be is not
    quite that.
    """
    found = sorted(slopes(series))
    count = len(series.values)
    equal = Counter(series.values).values()
    variance = (_of(count) - sum(map(_of, equal))) / 18
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance)
    low = math.floor((len(found) - reach) / 2) - 1
    high = math.ceil((len(found) + reach) / 2)
    if not found or (variance > 0 and (low < 0 or high >= len(found))):
        return None
    return found[max(low, 0)], found[min(high, len(found) - 1)]


def _of(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)
