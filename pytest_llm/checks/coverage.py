"""Coverage: if a run has a metric, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.engines import ENGINES
from pytest_llm.stats.summary import series_of, summarize

if TYPE_CHECKING:
    from pytest_llm.records import Measurement, Run
    from pytest_llm.records.metrics import Metric


def measured(run: Run, metric: Metric) -> Measurement | None:
    """Return a metric over all sessions; None if one lacks it or read it in another way."""
    found = series_of(metric, run.sessions)
    return summarize(metric, found) if found else None


def not_covered(run: Run, metric: Metric) -> str:
    """Return why a run does not have a metric."""
    engine = ENGINES.get(run.build.engine)
    if engine is not None and engine.covers and run.sessions:
        return f"{metric.title} cannot be had: {engine.covers}"
    return run.not_covered(metric)
