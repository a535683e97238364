"""Rehearsal: one whole untimed request, and what is read of a subject beside the clock."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.measure.budgets import Budget, within
from pytest_llm.measure.rounds import awake, pace_of
from pytest_llm.records import Series
from pytest_llm.records.metrics import MEMORY_PHASES, MEMORY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.measure.rounds import MeasurementContext, Pace
    from pytest_llm.records import Workload
    from pytest_llm.records.protocols import Loaded

# The series that a probe has if a device tells its energy.
ENERGY = "energy"
# Devices count energy several times a second; shorter work would read as none, or as twice as much.
_WARM = Budget(least=2, most=50, seconds=1.0)


class Rehearsal(NamedTuple):
    """The series of probes and counts, and what slices must suit."""

    seen: dict[str, Series]
    pace: Pace


def rehearse(
    loaded: Loaded, workload: Workload, context: MeasurementContext, *, beside: bool = False
) -> Rehearsal:
    """Go through one whole request untimed.

    ``energy``, where a device tells it, is that of one warm request: the first one of a process also compiles
    kernels and builds graphs, and fills the context to the workload's depth.

    Args:
        loaded: The subject.
        workload: What to rehearse.
        context: With the probe.
        beside: Another subject is loaded as well. This one is suspended, and no energy is read.

    Raises:
        EngineError: The worker refused, died or hung.
    """
    with ExitStack() as stack:
        if beside:
            stack.enter_context(awake(loaded))
        with context.probe.watch(loaded.pid) as seen:
            pace = pace_of(loaded, loaded.rehearse(workload))
        found = {**seen, **loaded.counts()}
        if MEMORY_SECONDS in seen:  # how long the generation took, at the end
            steps = max(0, workload.generate_tokens - 1)
            found[MEMORY_PHASES] = Series((steps * pace.step_seconds,))
        if found.pop(ENERGY, None) is not None and not beside:
            found |= _warm_energy(loaded, workload, context)
        return Rehearsal(found, pace)


def _warm_energy(loaded: Loaded, workload: Workload, context: MeasurementContext) -> Mapping[str, Series]:
    coverage = loaded.coverage(workload)
    if coverage.under_load or not (coverage.slices if workload.embed else coverage.requests):
        return {}
    count = 0
    with context.probe.watch(loaded.pid) as seen:
        for _ in within(_WARM, context.clock):
            if workload.embed:
                loaded.embedding_slice()
            else:
                loaded.request()
            count += 1
    return {ENERGY: Series((seen[ENERGY].values[0] / count,))} if ENERGY in seen else {}
