"""What a run holds of a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.inference.estimates import measure, series_of

if TYPE_CHECKING:
    from pytest_llm.metrics import Metric
    from pytest_llm.records import Measurement, Run


def measured(run: Run, metric: Metric) -> Measurement | None:
    """Return a metric over all sessions; None if one of them has nothing of it."""
    found = series_of(metric, run.sessions)
    return measure(metric, found) if found else None


# Engine -> what it measures, where that is not everything.
_ONLY = {"llama-bench": "llama-bench measures prompt and generation speed only, of one sequence"}


def not_covered(run: Run, metric: Metric) -> str:
    """Say that there is nothing of a metric."""
    if run.build.engine in _ONLY:
        return f"{metric.title} cannot be had: {_ONLY[run.build.engine]}"
    return f"{metric.title} cannot be had from {run.build} on this system"
