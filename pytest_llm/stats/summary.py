"""From what a session noted to a sample, and from samples to a value."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from pytest_llm.records import Measurement
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.theil_sen import slopes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import Series, Session
    from pytest_llm.records.metrics import Metric


def percentile(values: Sequence[float], rank: float) -> float:
    """Return a percentile by linear interpolation between the closest ranks.

    This is definition 7 of Hyndman and Fan (1996), "Sample quantiles in statistical packages", The American
    Statistician 50(4), 361-365, and numpy's default.

    Args:
        values: At least one.
        rank: 0 to 100.
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * rank / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def observations(metric: Metric, series: Series) -> list[float]:
    """Return what a series says of a metric, in its unit: tokens per second, slopes, or the values."""
    if metric.slope:
        return slopes(series)
    if metric.rate:
        return [series.tokens / seconds for seconds in series.values]
    return list(series.values)


def measure_all(sessions: Sequence[Session]) -> dict[str, Measurement]:
    """Return every declared metric that each of the sessions has something of, by name."""
    found = [(metric, readable(metric, sessions)) for metric in METRICS.values()]
    return {metric.name: measure(metric, series) for metric, series in found if series}


def readable(metric: Metric, sessions: Sequence[Session]) -> list[Series]:
    """Return the series that a metric is read from, one a session; none unless all of them tell it alike.

    A session without it counts against it, unless one is enough; a series that is too short always does.
    """
    found = [session.series.get(metric.series) for session in sessions]
    there = [each for each in found if each is not None]
    if len(there) < len(found) and not metric.once:
        return []
    alike = len({each.note for each in there}) == 1
    return there if alike and all(len(each.values) > metric.slope for each in there) else []


def measure(metric: Metric, sessions: Sequence[Series]) -> Measurement:
    """Return the metric's samples, one a session, and its value over all of them.

    Args:
        metric: Which metric.
        sessions: The series that the metric is read from, one a session; none of them empty.
    """
    observed = [observations(metric, series) for series in sessions]
    samples = tuple(percentile(values, metric.percentile) for values in observed)
    if metric.pooled:
        pooled = [value for values in observed for value in values]
        return Measurement(metric, percentile(pooled, metric.percentile), samples)
    return Measurement(metric, median(samples), samples)
