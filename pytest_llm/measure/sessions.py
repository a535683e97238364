"""Sessions of one subject or of a pair: a campaign becomes runs.

Each session has fresh processes: memory layout and placement differ from one process to the next, so sessions
are the independent units of every statistic.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, overload

from pytest_llm.errors import NotCoveredError, RequestFailedError, WorkerDiedError, WorkerHungError
from pytest_llm.measure.budgets import PAIR, SOLO
from pytest_llm.measure.leaks import WATCHING, watch_for_leaks
from pytest_llm.measure.limits import Stopwatch
from pytest_llm.measure.memory import memory_series
from pytest_llm.measure.rehearsal import rehearse
from pytest_llm.measure.rounds import check_seconds, measure_rounds, order, start_order
from pytest_llm.measure.state import CampaignState
from pytest_llm.models.opened import check_unchanged
from pytest_llm.records import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.errors import EngineError
    from pytest_llm.measure.rounds import MeasurementContext
    from pytest_llm.records import Campaign, Claim, Gate, PairedRun, Run, Workload
    from pytest_llm.records.protocols import Loaded
    from pytest_llm.records.side import Side
    from pytest_llm.stats.sequential import Rule

    Work = Callable[[Workload], None]

_SOLO = "alone, before any timing"


class _Process(NamedTuple):
    """A loaded subject, its memory while it loaded, and the seconds that took."""

    loaded: Loaded
    at_load: Mapping[str, Series]
    load_seconds: float


@overload
def measure(
    campaign: Campaign,
    sides: tuple[Side],
    rule: Rule,
    context: MeasurementContext,
    earlier: Sequence[tuple[PairedRun, Gate | Claim]] = (),
) -> Mapping[Workload, Run | EngineError]: ...


@overload
def measure(
    campaign: Campaign,
    sides: tuple[Side, Side],
    rule: Rule,
    context: MeasurementContext,
    earlier: Sequence[tuple[PairedRun, Gate | Claim]] = (),
) -> Mapping[Workload, PairedRun | EngineError]: ...


def measure(
    campaign: Campaign,
    sides: tuple[Side, ...],
    rule: Rule,
    context: MeasurementContext,
    earlier: Sequence[tuple[PairedRun, Gate | Claim]] = (),
) -> Mapping[Workload, Run | PairedRun | EngineError]:
    """Run sessions until every question of a campaign is answered, or no further session may begin.

    Args:
        campaign: The workloads and questions. A subject without a reference has as many sessions as it says.
        sides: The subject; of a pair, the candidate and its reference.
        rule: Says after which sessions of a pair its questions are looked at.
        context: Probes, clock, coin and limits.
        earlier: The questions of campaigns before this one, with their pairs: all share the error rate.

    Returns:
        For each workload its run, or the error that ended it; the other workloads went on.

    Raises:
        EngineError: An engine does not start, or refuses to load its subject.
        ModelHashError: The file of a model changed before the end of a session.
    """
    watch = Stopwatch(campaign, context.limits, context.clock)
    state = CampaignState(campaign, sides, rule, watch, context.control, earlier)
    run_sessions(campaign, state, context)
    return state.outcomes()


def run_sessions(campaign: Campaign, state: CampaignState, context: MeasurementContext) -> None:
    """Run sessions of all sides of a state until it waits for none; raises as :func:`measure`."""
    try:
        _run_sessions(campaign, state, context)
    except NotCoveredError:
        if not state.covers_nothing:
            raise
        for place, side in enumerate(state.sides):
            with closing(side.start()) as started:
                state.cover_nothing(place, started.build)
    context.progress.campaign_ended()


def _run_sessions(campaign: Campaign, state: CampaignState, context: MeasurementContext) -> None:
    sides = state.sides
    if len(sides) > 1:
        for place in order(context, len(sides)):
            _inspect_solo(place, state, context)
        state.not_interleaved = state.bytes_together() > context.room()
    for number in range(1, campaign.sessions + 1):
        state.cut_off.update(state.watch.ended(state.waiting()))
        waiting = state.waiting()
        if not waiting:
            break
        context.progress.session_started(campaign.subject, number, campaign.sessions)
        others = context.others()
        with state.watch.session():
            _check_files(sides)
            if len(sides) == 1 or state.not_interleaved:
                _one_after_another(state, context)
            else:
                _interleaved(state, context)
            _check_files(sides)
        state.note_others(waiting, others())
        context.progress.session_ended(campaign.subject, number, campaign.sessions, state.watch.last)
        if number == 1 and state.watch.is_off():
            left = [(each, state.watch.until(each)) for each in state.ends()]
            planned = campaign.planned.session
            context.progress.replanned(campaign.subject, planned, state.watch.last, left)
        context.on_session(state.runs())
    watch_for_leaks(
        [each for each in campaign.leaks if state.was_measured(each)],
        sides[0].start,
        context.anonymous,
        state.add_to_last,
        state.fail,
        partial(context.progress.untimed, campaign.subject, WATCHING),
    )


def _check_files(sides: tuple[Side, ...]) -> None:
    for side in sides:
        check_unchanged(side.model)


def _inspect_solo(place: int, state: CampaignState, context: MeasurementContext) -> None:
    """Note configuration, output and memory of one of several sides, and how long its slices must be."""
    role = "the reference" if place == len(state.sides) - 1 else f"the {state.role(place)}"
    context.progress.untimed(state.sides[place].subject, f"{role} {_SOLO}")

    def start(stack: ExitStack) -> Work:
        process = _start(place, state, context, stack)
        loaded = process.loaded
        state.note_memory(place, process.at_load)

        def check(workload: Workload) -> None:
            if not state.covers(place, workload, loaded.coverage(workload)):
                return
            at_work = _rehearse(place, loaded, workload, state, context)
            state.note_memory(place, at_work)
            state.note_solo(place, workload, _memory(place, process, workload, at_work, state))

        return check

    _each(state, start)


def _one_after_another(state: CampaignState, context: MeasurementContext) -> None:
    """Measure the only subject, or both of a pair that do not fit into memory together."""
    found: dict[Workload, dict[int, dict[str, Series]]] = {each: {} for each in state.waiting()}
    solo = len(state.sides) == 1
    for place in (0,) if solo else order(context, len(state.sides)):

        def start(stack: ExitStack, place: int = place) -> Work:
            process = _start(place, state, context, stack)
            loaded = process.loaded

            def work(workload: Workload) -> None:
                load = _load(loaded, workload, process.load_seconds)
                if not state.covers(place, workload, loaded.coverage(workload)):
                    found[workload][place] = load
                    return
                at_work = _rehearse(place, loaded, workload, state, context)
                budgets = (SOLO if solo else PAIR).shared_by(len(found))
                (series,), _ = measure_rounds(
                    [loaded], workload, state.cut(workload), budgets, context, state.requests(workload)
                )
                found[workload][place] = {
                    **series,
                    **_memory(place, process, workload, at_work, state),
                    **load,
                }

            return work

        _each(state, start)
    for workload in state.waiting():
        state.add(workload, [found[workload][place] for place in range(len(state.sides))])


def _interleaved(state: CampaignState, context: MeasurementContext) -> None:
    """Have all sides in memory, and time each slice of one next to the same slice of the others."""
    places = range(len(state.sides))

    def start(stack: ExitStack) -> Work:
        processes: dict[int, _Process] = {}
        for place in start_order(context, len(places)):
            processes[place] = _start(place, state, context, stack)
            processes[place].loaded.suspend()
        together = [processes[place].loaded for place in places]
        budgets = PAIR.shared_by(len(state.waiting()))

        def work(workload: Workload) -> None:
            loads = [_load(each, workload, processes[i].load_seconds) for i, each in enumerate(together)]
            covered = [state.covers(i, workload, each.coverage(workload)) for i, each in enumerate(together)]
            if not all(covered):
                state.add(workload, loads)
                return
            at_work: dict[int, Mapping[str, Series]] = {}
            for place in order(context, len(places)):
                at_work[place] = _rehearse(place, together[place], workload, state, context, beside=True)
            series, turns = measure_rounds(
                together, workload, state.cut(workload), budgets, context, state.requests(workload)
            )
            found = [
                {
                    **series[place],
                    **state.memory_beside(place, workload, processes[place].at_load, at_work[place]),
                    **loads[place],
                }
                for place in places
            ]
            state.add(workload, found, turns)

        return work

    _each(state, start)


def _each(state: CampaignState, start: Callable[[ExitStack], Work]) -> None:
    """Start processes and work on each waiting workload.

    A workload that is refused fails alone. After one that ends its process, the others get new processes.
    """
    waiting = state.waiting()
    while waiting:
        with ExitStack() as stack:
            work = start(stack)
            while waiting:
                workload = waiting.pop(0)
                try:
                    with state.watch.working(workload):
                        work(workload)
                except RequestFailedError as error:
                    state.fail(workload, error)
                except (WorkerDiedError, WorkerHungError) as error:
                    state.fail(workload, error)
                    break


def _start(place: int, state: CampaignState, context: MeasurementContext, stack: ExitStack) -> _Process:
    """Start a process that the stack closes, load its subject and, the first time, ask what it is."""
    loaded = stack.enter_context(closing(state.sides[place].start()))
    try:
        with context.probe.watch(loaded.pid) as at_load:
            seconds = loaded.load()
    except NotCoveredError as error:
        state.cover_nothing(place, loaded.build, str(error))
        raise
    state.describe(place, loaded)
    return _Process(loaded, at_load, seconds)


def _load(loaded: Loaded, workload: Workload, seconds: float) -> dict[str, Series]:
    """Return the seconds of a subject's ``load`` as a series, if they are those of loading."""
    if not loaded.coverage(workload).load:
        return {}
    check_seconds(loaded, "loading", seconds, may_be_zero=True)
    return {"load": Series((seconds,))}


def _rehearse(
    place: int,
    loaded: Loaded,
    workload: Workload,
    state: CampaignState,
    context: MeasurementContext,
    *,
    beside: bool = False,
) -> Mapping[str, Series]:
    seen, pace = rehearse(loaded, workload, context, beside=beside)
    state.note_pace(place, workload, pace)
    return seen


def _memory(
    place: int, process: _Process, workload: Workload, at_work: Mapping[str, Series], state: CampaignState
) -> dict[str, Series]:
    on_devices = process.loaded.on_devices()
    return memory_series(process.at_load, at_work, workload, state.effective_options(place), on_devices)
