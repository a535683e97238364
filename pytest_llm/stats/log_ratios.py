"""Log ratios of two subjects, one per session."""

from __future__ import annotations

import math
from statistics import fmean, median
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.stats.summary import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import PairedRun, Series, Session
    from pytest_llm.records.metrics import Metric


class Observations(NamedTuple):
    """Log ratios of times or sizes, candidate / reference, one a session, in order: positive is worse.

    Attributes:
        typical: Of the typical slice: sensitive to a change of all slices.
        whole: Of all work together: a few slow slices count, too; None unless the metric is a speed.
    """

    typical: list[float]
    whole: list[float] | None = None


def observations(metric: Metric, run: PairedRun, sessions: int | None = None) -> Observations:
    """Return what the sessions of a pair, or the first so many of them, show of a metric.

    A session without the metric, or with a time of 0, ends the lists.
    """
    pairs = list(zip(run.candidate.sessions, run.reference.sessions, strict=True))[:sessions]
    typical = session_log_ratios(metric, pairs, together=not run.not_interleaved)
    if not metric.rate:
        return Observations(typical)
    name = metric.series
    whole = [
        math.log(fmean(ours.series[name].values) / fmean(theirs.series[name].values))
        for ours, theirs in pairs[: len(typical)]
    ]
    return Observations(typical, whole)


def log_ratios(metric: Metric, run: PairedRun) -> list[float]:
    """Return log(candidate / reference) of times or sizes, one per session, in order: positive is worse.

    A session without the metric, or with a time of 0, ends the list.
    """
    pairs = zip(run.candidate.sessions, run.reference.sessions, strict=True)
    return session_log_ratios(metric, list(pairs), together=not run.not_interleaved)


def session_log_ratios(
    metric: Metric, sessions: Sequence[tuple[Session, Session]], *, together: bool
) -> list[float]:
    """Return the log ratio of each (candidate, reference); ``together`` if both took turns at each value."""
    found = []
    for candidate, reference in sessions:
        ours, theirs = candidate.series.get(metric.series), reference.series.get(metric.series)
        if ours is None or theirs is None or not all((*ours.values, *theirs.values)):
            break
        if not ours.values or not theirs.values:
            break
        found.append(_log_ratio(metric, ours, theirs, together=together))
    return found


def _log_ratio(metric: Metric, ours: Series, theirs: Series, *, together: bool) -> float:
    # Both series process the same tokens, so the ratio of rates is the inverse of the ratio of times.
    if together and metric.percentile == 50 and len(ours.values) == len(theirs.values):
        pairs = zip(ours.values, theirs.values, strict=True)
        return median(math.log(mine / other) for mine, other in pairs)
    rank = metric.percentile
    return math.log(percentile(ours.values, rank) / percentile(theirs.values, rank))
