"""Log ratios of two subjects, one per session."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.stats.disturbances import dropped
from pytest_llm.stats.summary import percentile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import PairedRun, Series, Session, Turns
    from pytest_llm.records.metric import Metric

# The turns of a series, if they are not its own.
_TURNS = {"first_token": "request", "inter_token": "request"}


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

    A session without the metric, or with a time of 0, ends the lists. Turns that something disturbed from
    outside are left out (see ``disturbances``).
    """
    pairs = list(zip(run.candidate.sessions, run.reference.sessions, strict=True))[:sessions]
    return session_observations(metric, pairs, run.turns, together=not run.not_interleaved)


def session_observations(
    metric: Metric,
    sessions: Sequence[tuple[Session, Session]],
    turns: Sequence[Mapping[str, Turns]] = (),
    *,
    together: bool = True,
) -> Observations:
    """Return what (candidate, reference) of some sessions show; ``together`` if both took turns."""
    typical: list[float] = []
    whole: list[float] = []
    for number, (candidate, reference) in enumerate(sessions, 1):
        ours, theirs = candidate.series.get(metric.series), reference.series.get(metric.series)
        if ours is None or theirs is None or not all((*ours.values, *theirs.values)):
            break
        if not ours.values or not theirs.values:
            break
        paired = together and len(ours.values) == len(theirs.values)
        if paired and len(turns) >= number:
            ours, theirs = _counting(metric, ours, theirs, turns[:number])
        typical.append(_typical(metric, ours, theirs, paired=paired))
        whole.append(math.log(_token_seconds(ours) / _token_seconds(theirs)))
    return Observations(typical, whole if metric.rate else None)


def log_ratios(metric: Metric, run: PairedRun) -> list[float]:
    """Return the typical observations of a metric: log(candidate / reference), one a session."""
    return observations(metric, run).typical


def _counting(
    metric: Metric, ours: Series, theirs: Series, turns: Sequence[Mapping[str, Turns]]
) -> tuple[Series, Series]:
    """Return the values of the last session that count; a turn may have several."""
    kind = _TURNS.get(metric.series, metric.series)
    left_out = dropped(turns, kind)
    if not left_out:
        return ours, theirs
    each = len(ours.values) // len(turns[-1][kind].first)
    places = [at for at in range(len(ours.values)) if at // each not in left_out]
    return _at(ours, places), _at(theirs, places)


def _at(series: Series, places: Sequence[int]) -> Series:
    tokens = series.each_tokens()
    return type(series).of_work([series.values[at] for at in places], [tokens[at] for at in places])


def _typical(metric: Metric, ours: Series, theirs: Series, *, paired: bool) -> float:
    # Turns of both process the same tokens, so the ratio of rates is the inverse of the ratio of times.
    if paired and metric.percentile == 50:
        pairs = zip(ours.values, theirs.values, strict=True)
        return median(math.log(mine / other) for mine, other in pairs)
    rank = metric.percentile
    values = [_each(metric, side) for side in (ours, theirs)]
    return math.log(percentile(values[0], rank) / percentile(values[1], rank))


def _each(metric: Metric, series: Series) -> Sequence[float]:
    """Return each value; of a speed, the seconds of a token."""
    if not metric.rate:
        return series.values
    return [seconds / tokens for seconds, tokens in zip(series.values, series.each_tokens(), strict=True)]


def _token_seconds(series: Series) -> float:
    return math.fsum(series.values) / sum(series.each_tokens())
