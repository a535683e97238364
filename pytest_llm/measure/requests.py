"""How many whole requests a session takes: what limits, gates and claims need, and no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_llm.records import Workload
    from pytest_llm.records.metric import Metric

    Fits = Callable[[int], bool]

_MEDIAN = 5
# Of a pair, for the time of whole requests, which is no percentile.
_TOTAL = 3


def always(_: int) -> bool:
    """Return True: no limit is set to the time of a workload."""
    return True


def requests_alone(metrics: Iterable[Metric], workload: Workload, sessions: int, fits: Fits = always) -> int:
    """Return the requests in each session of a subject alone, whose percentiles are over all sessions.

    It is at least one, and enough for the medians of latency in the table.

    Args:
        metrics: Have a limit or a gate.
        workload: What is requested.
        sessions: How many there are.
        fits: Says if a session has time for so many; what needs more is not covered.
    """
    if workload.embed:
        return 0
    needed = [_MEDIAN, *(requests_for(each, workload) for each in metrics)]
    return max((each for each in (math.ceil(n / sessions) for n in needed) if fits(each)), default=1)


def requests_paired(
    metrics: Iterable[Metric],
    limited: Iterable[Metric],
    workload: Workload,
    sessions: int,
    fits: Fits = always,
) -> int:
    """Return the requests in each session of a pair: of what nobody asks for, none.

    Args:
        metrics: Are compared, so each session needs its own percentile.
        limited: Have a limit, which holds for all sessions together.
        workload: What is requested.
        sessions: How many there are at least.
        fits: Says if a session has time for so many; what needs more is not covered.
    """
    if workload.embed:
        return 0
    needed = [
        *(requests_for(each, workload) for each in metrics),
        *(math.ceil(requests_for(each, workload) / sessions) for each in limited),
    ]
    return max((each for each in needed if fits(each)), default=0)


def requests_for(metric: Metric, workload: Workload) -> int:
    """Return how many requests the value of a metric takes; 0 if it is not read from requests."""
    if metric.series == "request":
        return _TOTAL
    if metric.series == "first_token":
        return metric.least_observations
    if metric.series == "inter_token" and workload.generate_tokens > 1:
        return math.ceil(metric.least_observations / (workload.generate_tokens - 1))
    return 0
