"""Interference: log ratios of a subject's time beside a neighbour to its time alone.

Comparing a build with itself cannot show this: what both do to each other cancels. So one process is timed in
three stretches: alone, beside a neighbour, alone; or beside, alone, beside. A coin decides which, and the
stretch in the middle is compared with the mean of those around it. So a machine whose speed changes steadily
shows nothing, and any other change is as likely to count for the neighbour as against it. While the subject
is alone its neighbour does not exist: a stopped one could still disturb.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from pytest_llm.measure.budgets import PAIR
from pytest_llm.measure.rounds import cut, measure_rounds, pace_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.measure import MeasurementContext
    from pytest_llm.measure.rounds import Cut
    from pytest_llm.records import Series, Workload
    from pytest_llm.records.metric import Metric
    from pytest_llm.records.protocols import Loaded
    from pytest_llm.records.side import Side


class _Undisturbed:
    """Drops no round, since slices taken alone are not checked for disturbances."""

    def mark(self) -> None:
        pass

    def since_mark(self) -> tuple[str, ...]:
        return ()


def interference_log_ratios(
    side: Side, workload: Workload, metrics: Sequence[Metric], sessions: int, context: MeasurementContext
) -> dict[str, list[float]]:
    """Return log(time beside a neighbour / time alone) of each metric by its name, one a session.

    Raises:
        EngineError: The engine does not start, or its worker refused, died or hung.
    """
    context = replace(context, noise=_Undisturbed())
    found: dict[str, list[float]] = {each.name: [] for each in metrics}
    for number in range(1, sessions + 1):
        context.progress.session_started(side.subject, number, sessions)
        before = context.clock()
        beside_between = context.coin()
        stretches = _session(
            side, workload, (not beside_between, beside_between, not beside_between), context
        )
        for each in metrics:
            first, middle, last = (_log_time(series[each.series]) for series in stretches)
            ratio = middle - (first + last) / 2
            found[each.name].append(ratio if beside_between else -ratio)
        context.progress.session_ended(side.subject, number, sessions, context.clock() - before)
    context.progress.campaign_ended()
    return found


def _session(
    side: Side, workload: Workload, beside_each: Sequence[bool], context: MeasurementContext
) -> list[Mapping[str, Series]]:
    with closing(side.start()) as loaded:
        loaded.load()
        slices = cut(workload, [pace_of(loaded, loaded.rehearse(workload))])
        return [
            _beside_neighbour(side, loaded, workload, slices, context)
            if beside
            else measure_rounds([loaded], workload, slices, PAIR, context)[0][0]
            for beside in beside_each
        ]


def _beside_neighbour(
    side: Side, loaded: Loaded, workload: Workload, slices: Cut, context: MeasurementContext
) -> Mapping[str, Series]:
    with ExitStack() as stack:
        stack.callback(loaded.resume)
        loaded.suspend()
        neighbour = stack.enter_context(closing(side.start()))
        neighbour.load()
        neighbour.rehearse(workload)
        neighbour.suspend()
        (ours, _), _ = measure_rounds([loaded, neighbour], workload, slices, PAIR, context)
        return ours


def _log_time(series: Series) -> float:
    tokens = series.each_tokens()
    return math.log(median(value / count for value, count in zip(series.values, tokens, strict=True)))
