"""Is a subject as fast in a duet as it is alone?

Comparing a build with itself cannot tell: what both do to each other cancels. So one process is timed in
three stretches: alone, in a duet, alone; or in a duet, alone, in a duet. A coin decides which, and the
stretch in the middle is compared with the mean of those around it, so that a machine whose speed changes
steadily shows nothing, and any other change is as likely to count for the duet as against it. While the
subject is alone its neighbour is not merely stopped but not there: one that cannot be stopped would disturb
both alike.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from pytest_llm.measure.rounds import Disturbances, generation_steps, measure_half, measure_pair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.measure import MeasurementContext
    from pytest_llm.records import Series, Workload
    from pytest_llm.records.metrics import Metric
    from pytest_llm.records.protocols import Loaded
    from pytest_llm.records.side import Side


class _Undisturbed:
    """Drops no round: slices taken alone are not looked at for disturbances, either."""

    def mark(self) -> None:
        pass

    def since_mark(self) -> tuple[str, ...]:
        return ()


def duet_log_ratios(
    side: Side, workload: Workload, metrics: Sequence[Metric], sessions: int, context: MeasurementContext
) -> dict[str, list[float]]:
    """Return log(time in a duet / time alone) of each metric by its name, one a session.

    Raises:
        EngineError: The engine does not start, or its worker refused, died or hung.
    """
    context = replace(context, noise=_Undisturbed())
    found: dict[str, list[float]] = {each.name: [] for each in metrics}
    for number in range(1, sessions + 1):
        context.progress.session_started(side.subject, number, sessions)
        before = context.clock()
        duet_between = context.coin()
        stretches = _session(side, workload, (not duet_between, duet_between, not duet_between), context)
        for each in metrics:
            first, middle, last = (_log_time(series[each.series]) for series in stretches)
            ratio = middle - (first + last) / 2
            found[each.name].append(ratio if duet_between else -ratio)
        context.progress.session_ended(side.subject, number, sessions, context.clock() - before)
    context.progress.campaign_ended()
    return found


def _session(
    side: Side, workload: Workload, duets: Sequence[bool], context: MeasurementContext
) -> list[Mapping[str, Series]]:
    with closing(side.start()) as loaded:
        loaded.load()
        loaded.rehearse(workload)
        steps = generation_steps(loaded, workload)
        return [
            _in_duet(side, loaded, workload, steps, context)
            if duet
            else measure_half(loaded, workload, steps, context.clock)
            for duet in duets
        ]


def _in_duet(
    side: Side, loaded: Loaded, workload: Workload, steps: int, context: MeasurementContext
) -> Mapping[str, Series]:
    with ExitStack() as stack:
        stack.callback(loaded.resume)
        loaded.suspend()
        neighbour = stack.enter_context(closing(side.start()))
        neighbour.load()
        neighbour.rehearse(workload)
        neighbour.suspend()
        ours, _ = measure_pair((loaded, neighbour), workload, steps, context, Disturbances())
        return ours


def _log_time(series: Series) -> float:
    return math.log(median(series.values))
