"""Coverage: if a run has a metric, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.engines import ENGINES
from pytest_llm.records.metrics import DRAFT_ACCEPTANCE
from pytest_llm.stats.summary import series_of, summarize

if TYPE_CHECKING:
    from pytest_llm.records import Measurement, PairedRun, Run
    from pytest_llm.records.metric import Metric


def measured(run: Run, metric: Metric) -> Measurement | None:
    """Return a metric over all sessions; None if one lacks it or read it in another way."""
    found = series_of(metric, run.sessions)
    return summarize(metric, found) if found else None


def too_few(pair: PairedRun, metric: Metric) -> str:
    """Return why a pair has no percentile in each session; "" if it has, or the metric is none."""
    sessions = [*pair.candidate.sessions, *pair.reference.sessions]
    found = [session.series.get(metric.series) for session in sessions]
    if not metric.pooled or all(
        each is None or len(each.values) >= metric.least_observations for each in found
    ):
        return ""
    return (
        f"{metric.title} takes {metric.least_observations} observations in each session of a pair: raise "
        "--llm-time-limit"
    )


def not_covered(run: Run, metric: Metric) -> str:
    """Return why a run does not have a metric."""
    engine = ENGINES.get(run.build.engine)
    covered = metric.series == DRAFT_ACCEPTANCE
    if engine is not None and engine.covers and run.sessions and not covered:
        return f"{metric.title} cannot be had: {engine.covers}"
    return run.not_covered(metric)


def not_comparable(run: PairedRun, metric: Metric) -> str:
    """Return why the two runs of a pair cannot be compared in a metric; "" if they can."""
    sides = run.candidate, run.reference
    for side in sides:
        if measured(side, metric) is None:
            return not_covered(side, metric)
    if few := too_few(run, metric):
        return few
    ours, theirs = (side.how_read(metric) for side in sides)
    ways = f"{metric.title} was read in two ways: {ours} and, of the reference, {theirs}"
    return ways if ours != theirs else ""
