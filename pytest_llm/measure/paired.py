"""All sessions of a pair: each with fresh processes, until every question is answered or none can follow."""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

from pytest_llm.errors import EngineError
from pytest_llm.measure.leaks import WATCHING, watch_for_leaks
from pytest_llm.measure.memory import memory_series
from pytest_llm.measure.paired_state import PairedRecords
from pytest_llm.measure.rounds import PLACES, Disturbances, awake, measure_one, measure_pair, order
from pytest_llm.measure.slices import generation_steps, load_series
from pytest_llm.measure.workloads import through
from pytest_llm.records import PairedRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.measure.rounds import MeasurementContext, Pair
    from pytest_llm.records import Campaign, Series, Workload
    from pytest_llm.records.protocols import Loaded
    from pytest_llm.records.side import Side
    from pytest_llm.stats.sequential import Rule

    Sides = tuple[Side, Side]
    Seen = tuple[Mapping[str, Series], Mapping[str, Series]]

_ALONE = ("the candidate alone, before any timing", "the reference alone, before any timing")

PairedOutcome = PairedRun | EngineError


def run_paired(
    campaign: Campaign, candidate: Side, reference: Side, rule: Rule, context: MeasurementContext
) -> dict[Workload, PairedOutcome]:
    """Run sessions of two subjects until every question is answered, or none can follow.

    Args:
        campaign: What is asked.
        candidate: The subject that is judged.
        reference: The subject it is compared with.
        rule: When to look at what there is.
        context: What is read beside, and drawn.

    Returns:
        For each workload its runs, or the error that ended its measuring; the others went on.

    Raises:
        EngineError: An engine does not start, or refuses to load its subject.
    """
    sides = (candidate, reference)
    records = PairedRecords(campaign, (candidate.model, reference.model), rule)
    started = context.clock()
    steps = _check(sides, records, context)
    records.not_interleaved = records.bytes_together() > context.room()
    for number in range(1, rule.looks[-1] + 1):
        if not records.waiting():
            break
        spent = context.clock() - started
        if number > 1 and spent * number / (number - 1) > context.patience:
            records.cut_off = _cut_off(number - 1, spent)
            break
        context.progress.session_started(campaign.subject, number, rule.looks[-1])
        before = context.clock()
        (_in_turn if records.not_interleaved else _together)(sides, records, steps, context)
        context.progress.session_ended(campaign.subject, number, rule.looks[-1], context.clock() - before)
    watch_for_leaks(
        [each for each in campaign.leaks if records.was_measured(each)],
        candidate.start,
        context.held,
        records.add_to_last,
        records.fail,
        partial(context.progress.untimed, campaign.subject, WATCHING),
    )
    context.progress.campaign_ended()
    return records.outcomes()


def _cut_off(sessions: int, seconds: float) -> str:
    count = f"{sessions} session{'s' if sessions != 1 else ''}"
    return f"the time limit was reached after {count}, {seconds:.0f} s"


def _check(sides: Sides, records: PairedRecords, context: MeasurementContext) -> dict[Workload, int]:
    """See each subject alone before any timing: configuration, output, memory; return decodes a slice."""
    steps: dict[Workload, int] = {}
    for place in order(context):
        context.progress.untimed(sides[place].subject, _ALONE[place])
        waiting = records.waiting()
        while waiting:
            with closing(sides[place].start()) as loaded:
                with context.probe.watch(loaded.pid) as at_load:
                    loaded.load()
                if not records.has_seen(place):
                    records.loaded(place, loaded.build, loaded.effective_options(), loaded.invariants())
                records.needs(place, at_load)

                def look(
                    workload: Workload,
                    place: int = place,
                    loaded: Loaded = loaded,
                    at_load: Mapping[str, Series] = at_load,
                ) -> None:
                    with context.probe.watch(loaded.pid) as at_work:
                        loaded.rehearse(workload)
                    records.needs(place, at_work)
                    effective_options = records.effective_options(place)
                    memory = memory_series(at_load, at_work, workload, effective_options, loaded.on_devices())
                    records.alone(place, workload, memory)
                    steps.setdefault(workload, 0)
                    if loaded.coverage(workload).slices:
                        # Equal work for both: what is long enough for the faster one.
                        steps[workload] = max(generation_steps(loaded, workload), steps[workload])

                through(waiting, look, records.fail)
    return steps


def _together(
    sides: Sides, records: PairedRecords, steps: Mapping[Workload, int], context: MeasurementContext
) -> None:
    """Have both in memory, and take each slice of one beside the same slice of the other."""
    waiting = records.waiting()
    while waiting:
        with ExitStack() as stack:
            pair, at_load, seconds = _start_both(sides, stack, context)

            def work(
                workload: Workload,
                pair: Pair = pair,
                at_load: Seen = at_load,
                seconds: tuple[float, float] = seconds,
            ) -> None:
                peaks = _rehearse_both(pair, workload, context)
                disturbances = Disturbances()
                series = measure_pair(pair, workload, steps[workload], context, disturbances)
                found = tuple(
                    {
                        **series[place],
                        **records.memory(place, workload, at_load[place], peaks[place]),
                        **load_series(pair[place], workload, seconds[place]),
                    }
                    for place in PLACES
                )
                records.add(workload, (found[0], found[1]), disturbances)

            through(waiting, work, records.fail)


def _start_both(
    sides: Sides, stack: ExitStack, context: MeasurementContext
) -> tuple[Pair, Seen, tuple[float, float]]:
    pair: dict[int, Loaded] = {}
    seen: dict[int, Mapping[str, Series]] = {}
    seconds: dict[int, float] = {}
    for place in order(context):
        pair[place] = stack.enter_context(closing(sides[place].start()))
        with context.probe.watch(pair[place].pid) as peaks:
            seconds[place] = pair[place].load()
        pair[place].suspend()
        seen[place] = peaks
    return (pair[0], pair[1]), (seen[0], seen[1]), (seconds[0], seconds[1])


def _rehearse_both(pair: Pair, workload: Workload, context: MeasurementContext) -> Seen:
    seen: dict[int, Mapping[str, Series]] = {}
    for place in order(context):
        with context.probe.watch(pair[place].pid) as peaks, awake(pair[place]) as loaded:
            loaded.rehearse(workload)
        seen[place] = peaks
    return seen[0], seen[1]


def _in_turn(
    sides: Sides, records: PairedRecords, steps: Mapping[Workload, int], context: MeasurementContext
) -> None:
    """Have one after the other in memory, where both do not fit."""
    halves: dict[Workload, dict[int, dict[str, Series]]] = {each: {} for each in records.waiting()}
    for place in order(context):
        waiting = records.waiting()
        while waiting:
            with closing(sides[place].start()) as loaded:
                with context.probe.watch(loaded.pid) as at_load:
                    seconds = loaded.load()

                def work(
                    workload: Workload,
                    place: int = place,
                    loaded: Loaded = loaded,
                    load: float = seconds,
                    at_load: Mapping[str, Series] = at_load,
                ) -> None:
                    with context.probe.watch(loaded.pid) as at_work:
                        loaded.rehearse(workload)
                    effective_options = records.effective_options(place)
                    halves[workload][place] = {
                        **measure_one(loaded, workload, steps[workload], context),
                        **memory_series(at_load, at_work, workload, effective_options, loaded.on_devices()),
                        **load_series(loaded, workload, load),
                    }

                through(waiting, work, records.fail)
    for workload in records.waiting():
        records.add(workload, (halves[workload][0], halves[workload][1]), Disturbances())
