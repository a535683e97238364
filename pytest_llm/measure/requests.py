"""How many whole requests a session takes: what limits, gates and claims need, and no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llm.records import Workload
    from pytest_llm.records.metrics import Metric

# Of a pair, for the time of whole requests, which is no percentile.
_LEAST = 3


def requests_alone(metrics: Iterable[Metric], workload: Workload, sessions: int) -> int:
    """Return the requests in each session of a subject alone, whose percentiles are over all sessions.

    It is at least one, and enough for the medians of latency in the table.
    """
    needed = [5, *(requests_for(each, workload) for each in metrics)]
    return 0 if workload.embed else math.ceil(max(needed) / sessions)


def requests_paired(
    metrics: Iterable[Metric], limited: Iterable[Metric], workload: Workload, sessions: int
) -> int:
    """Return the requests in each session of a pair: of what nobody asks for, none.

    Args:
        metrics: Are compared, so each session needs its own percentile.
        limited: Have a limit, which holds for all sessions together.
        workload: What is requested.
        sessions: How many there are at least.
    """
    needed = [
        *(requests_for(each, workload) for each in metrics),
        *(math.ceil(requests_for(each, workload) / sessions) for each in limited),
    ]
    return 0 if workload.embed else max(needed, default=0)


def requests_for(metric: Metric, workload: Workload) -> int:
    """Return how many requests the value of a metric takes; 0 if it is not read from requests."""
    if metric.series == "request":
        return _LEAST
    if metric.series == "first_token":
        return metric.least_observations
    if metric.series == "inter_token" and workload.generate_tokens > 1:
        return math.ceil(metric.least_observations / (workload.generate_tokens - 1))
    return 0
