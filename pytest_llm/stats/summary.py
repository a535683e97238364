"""Summary of sessions: from series to samples to a metric's value."""

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
    from pytest_llm.records.metric import Metric


_NOISY = 0.5


def percentile(values: Sequence[float], rank: float) -> float:
    """Return a percentile (0 to 100) by linear interpolation between the closest ranks.

    Definition 7 of Hyndman and Fan (1996), "Sample quantiles in statistical packages", The American
    Statistician 50(4), 361-365; numpy's default.
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * rank / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def summarize_all(sessions: Sequence[Session]) -> dict[str, Measurement]:
    """Return every declared metric that the sessions have series for, by name."""
    found = [(metric, series_of(metric, sessions)) for metric in METRICS.values()]
    return {metric.name: summarize(metric, series) for metric, series in found if series}


def series_of(metric: Metric, sessions: Sequence[Session]) -> list[Series]:
    """Return the series of a metric, one per session, or none if they do not belong together.

    They do not if a session lacks the series (unless one session is enough), if their notes differ, if one
    has too few values, or if all together have too few for a percentile.
    """
    found = [session.series.get(metric.series) for session in sessions]
    present = [each for each in found if each is not None]
    if len(present) < len(found) and not metric.once:
        return []
    alike = len({each.note for each in present}) == 1
    enough = sum(len(each.values) for each in present) >= metric.least_observations
    return present if alike and enough and all(len(each.values) > metric.slope for each in present) else []


def summarize(metric: Metric, sessions: Sequence[Series]) -> Measurement:
    """Return the metric's samples, one per session, and its value over all of them."""
    if metric.rate:
        samples = tuple(_rate([series]) for series in sessions)
        return Measurement(metric, _rate(sessions), samples)
    observed = [_observations(metric, series) for series in sessions]
    samples = tuple(percentile(values, metric.percentile) for values in observed)
    if metric.pooled:
        pooled = [value for values in observed for value in values]
        return Measurement(metric, percentile(pooled, metric.percentile), samples)
    return Measurement(metric, median(samples), samples)


def range_of(measurement: Measurement) -> tuple[float, float]:
    """Return the smallest and the largest sample, in the metric's unit."""
    return min(measurement.samples), max(measurement.samples)


def is_noisy(measurement: Measurement) -> bool:
    """Return whether the samples range over more than half of their median, so that the value says little."""
    low, high = range_of(measurement)
    return high - low > _NOISY * abs(median(measurement.samples))


def _observations(metric: Metric, series: Series) -> list[float]:
    if metric.slope:
        return slopes(series)
    return list(series.values)


def _rate(sessions: Sequence[Series]) -> float:
    """Return all tokens of some series, divided by all of their seconds."""
    return sum(sum(each.each_tokens()) for each in sessions) / math.fsum(
        seconds for each in sessions for seconds in each.values
    )
