"""Log ratios of two subjects, one per session."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from pytest_llm.stats.summary import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import PairedRun, Series, Session
    from pytest_llm.records.metrics import Metric


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
