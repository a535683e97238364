"""Limits: a run against absolute bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.coverage import measured, not_covered
from pytest_llm.checks.findings import Judgement
from pytest_llm.checks.format import counted, percent
from pytest_llm.records import Verdict
from pytest_llm.stats.summary import series_of
from pytest_llm.stats.theil_sen import CONFIDENCE, interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import Limit, Measurement, Run
    from pytest_llm.records.metric import Metric


def judge_limits(run: Run, limits: Sequence[Limit]) -> tuple[Judgement, ...]:
    """Judge a run by absolute limits, which are inclusive and apply to the value."""
    return tuple(_judge(run, limit) for limit in limits)


def _judge(run: Run, limit: Limit) -> Judgement:
    measurement = measured(run, limit.metric)
    if measurement is None:
        return Judgement(Verdict.NOT_COVERED, limit, None, not_covered(run, limit.metric))
    how = run.how_read(limit.metric)
    higher = limit.metric.better == "higher"
    kept = measurement.value >= limit.bound if higher else measurement.value <= limit.bound
    verdict = Verdict.PASS if kept else Verdict.OVER_LIMIT
    return Judgement(verdict, limit, measurement, interval=_interval(run, limit.metric), how=how)


def _interval(run: Run, metric: Metric) -> tuple[float, float] | None:
    return interval(series_of(metric, run.sessions)[-1]) if metric.slope else None


def summary(judgement: Judgement) -> str:
    """Return one line with the numbers of a verdict."""
    metric, measurement = judgement.limit.metric, judgement.measurement
    if measurement is None:
        return judgement.reason
    value, bound = metric.unit.format_apart(measurement.value, judgement.limit.bound)
    side = "at least" if metric.better == "higher" else "at most"
    share = measurement.value / judgement.limit.bound - 1 if judgement.limit.bound else 0.0
    return (
        f"{metric.title} is {value}, the limit is {side} {bound}: {_percent(share)} "
        f"({_range(judgement, measurement)}{judgement.how and f'; {judgement.how}'})"
    )


def _range(judgement: Judgement, measurement: Measurement) -> str:
    metric = measurement.metric
    if metric.slope:
        if judgement.interval is None:
            return "too few readings for an interval"
        low, high = map(metric.unit.format, judgement.interval)
        return f"{CONFIDENCE:.0%} interval {low} … {high}".replace("%", " %", 1)
    lowest, highest = (
        metric.unit.format(edge) for edge in (min(measurement.samples), max(measurement.samples))
    )
    sessions = counted(len(measurement.samples), "session")
    if metric.pooled:  # a percentile over all sessions may lie outside those of each
        sessions += " together; each alone"
    else:
        sessions += ","
    return f"{sessions} {lowest} … {highest}"


def _percent(share: float) -> str:
    text = percent(share)
    return "off by less than 0.1 %" if text == "±0.0 %" and share else text
