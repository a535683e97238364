"""From the series of two subjects to one log ratio a session, and what the ratios say."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from pytest_llm.records import Gate
from pytest_llm.stats.sequential import decide, decide_faster
from pytest_llm.stats.summary import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import Claim, PairedRun, Series, Session
    from pytest_llm.records.metrics import Metric
    from pytest_llm.stats.sequential import Decision, Rule


def log_ratios(metric: Metric, run: PairedRun) -> list[float]:
    """Return log(candidate / reference) of times or sizes, one a session, in order: positive is worse.

    A session that has nothing of the metric, or a time of 0, ends the list: what follows is not comparable.
    """
    pairs = zip(run.candidate.sessions, run.reference.sessions, strict=True)
    return session_log_ratios(metric, list(pairs), together=not run.not_interleaved)


def session_log_ratios(
    metric: Metric, sessions: Sequence[tuple[Session, Session]], *, together: bool
) -> list[float]:
    """Return one log ratio a session of (candidate, reference); see :func:`log_ratios`.

    Args:
        metric: Read from a series that both have.
        sessions: In order.
        together: Whether equal places of the series were measured one after the other.
    """
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
    # Equal work: the tokens of both series are the same, so that a rate's ratio is its times' inverse.
    if together and metric.percentile == 50 and len(ours.values) == len(theirs.values):
        pairs = zip(ours.values, theirs.values, strict=True)
        return median(math.log(mine / other) for mine, other in pairs)
    rank = metric.percentile
    return math.log(percentile(ours.values, rank) / percentile(theirs.values, rank))


def ask(rule: Rule, asked: Gate | Claim, ratios: Sequence[float]) -> Decision:
    """Say what log ratios answer to a gate or a claim."""
    if isinstance(asked, Gate):
        return decide(rule, ratios, asked.tolerance)
    return decide_faster(rule, ratios, asked.by)
