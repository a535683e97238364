"""Rounds of one session: a request, cut into slices that one subject, or several in turns, work on.

Of several, each slice is taken of every subject before the next one begins, in an order drawn anew. Those
that wait are stopped: threads that spin while they wait would be measured as the slowness of others, and
comparing a build with itself could not show it.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pytest_llm.errors import RequestFailedError
from pytest_llm.measure.budgets import within
from pytest_llm.measure.ledger import Ledger
from pytest_llm.records.metrics import EMBEDDING
from pytest_llm.records.protocols import ServesAtOnce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_llm.measure.budgets import Budgets
    from pytest_llm.measure.limits import TimeLimits
    from pytest_llm.records import Control, PairedRun, Run, Series, Turns, Workload
    from pytest_llm.records.protocols import AnonymousReader, Clock, Loaded, Noise, Probe, Progress

    Slice = tuple[int, float]
    Request = tuple[float, Sequence[float]]

Taken = TypeVar("Taken")


@dataclass(frozen=True)
class SliceFloor:
    """The smallest slice of generation worth timing: so many steps, and so many seconds."""

    steps: int
    seconds: float


# Far above the clock's resolution, far below the seconds over which a shared machine's speed wanders. On a
# GPU a few tokens measure the launch of the graph and little else.
ON_CPU = SliceFloor(steps=1, seconds=0.03)
ON_GPU = SliceFloor(steps=32, seconds=0.3)


_WARM_UP_MOST = 8
_STEADY = 0.25


@dataclass(frozen=True)
class MeasurementContext:
    """Probes, clock, coin and limits of a campaign.

    Attributes:
        probe: Watches the memory of processes.
        noise: Names what disturbed a slice from outside.
        clock: For budgets; what is reported is timed inside the worker.
        progress: Shows each session.
        coin: True or False, equally likely.
        start_coin: Decides which process of a pair starts first; None is ``coin``.
        room: Bytes of memory that are free now.
        limits: Of the time that it takes.
        anonymous: Reads the allocated memory of a process, for workloads that are watched for leaks.
        on_session: Receives the runs of all sessions so far after each session.
        control: The speed of the machine now; None if it was not measured.
        others: Begins to watch other processes; what it returns tells the share of all processors that they
            used since then, None if that is unknown.
    """

    probe: Probe
    noise: Noise
    clock: Clock
    progress: Progress
    coin: Callable[[], bool]
    room: Callable[[], float]
    limits: TimeLimits
    anonymous: AnonymousReader = lambda _: None
    on_session: Callable[[Mapping[Workload, Run | PairedRun]], None] = lambda _: None
    control: Control | None = None
    start_coin: Callable[[], bool] | None = None
    others: Callable[[], Callable[[], float | None]] = lambda: lambda: None


class Pace(NamedTuple):
    """Pace of a subject, which its slices must suit.

    Attributes:
        step_seconds: Of one step of generation, as the rehearsal shows it; 0 if it has none.
        prompt_batch: Tokens of a prompt that are decoded at once.
        on_gpu: Whether layers are on a GPU.
        continues: Whether a slice starts where the last one ended; otherwise each stands alone.
    """

    step_seconds: float
    prompt_batch: int
    on_gpu: bool
    continues: bool


class Cut(NamedTuple):
    """The slices of a round: tokens of prompt, and steps of generation."""

    prompt: tuple[int, ...]
    generation: tuple[int, ...]


def pace_of(loaded: Loaded, step_seconds: float) -> Pace:
    """Return the pace of a subject that was rehearsed."""
    return Pace(step_seconds, loaded.prompt_batch, loaded.on_gpu, loaded.continues)


def cut(workload: Workload, paces: Sequence[Pace]) -> Cut:
    """Cut a request into slices that suit every subject: long enough for the fastest."""
    prompt = workload.prompt_tokens * workload.parallel
    steps = max(1, workload.generate_tokens - 1)  # the first token comes from the prompt
    if not all(each.continues for each in paces):
        return Cut((prompt,), (steps,))
    floor = ON_GPU if any(each.on_gpu for each in paces) else ON_CPU
    fastest = min(each.step_seconds for each in paces)
    least = max(floor.steps, math.ceil(floor.seconds / fastest)) if fastest else steps
    batch = max(each.prompt_batch for each in paces)
    return Cut(
        tuple(min(batch, prompt - at) for at in range(0, prompt, batch)),
        _even(steps, max(1, steps // least)),
    )


def _even(total: int, parts: int) -> tuple[int, ...]:
    each, more = divmod(total, parts)
    return (each + 1,) * more + (each,) * (parts - more)


def measure_rounds(
    subjects: Sequence[Loaded],
    workload: Workload,
    slices: Cut,
    budgets: Budgets,
    context: MeasurementContext,
    requests: int = 0,
) -> tuple[Sequence[Mapping[str, Series]], Sequence[Mapping[str, Turns]]]:
    """Time rounds of slices, then whole requests, of every subject; all stand at the workload's depth.

    Args:
        subjects: Rehearsed. Several are suspended, and are again afterwards.
        workload: The work of a request.
        slices: How a round cuts it.
        budgets: How much of it.
        context: Clock, coin and noise.
        requests: How many whole requests follow.

    Returns:
        The series of each subject, and of each but the last the turns that it took with the last one.

    Raises:
        EngineError: A worker refused, died or hung.
    """
    coverages = [each.coverage(workload) for each in subjects]
    ledger = Ledger(len(subjects))
    turns = _InTurns(subjects, context, ledger)
    if all(each.slices for each in coverages):
        if workload.embed:
            _take_texts(turns, budgets, context)
        else:
            _take_slices(turns, slices, budgets, context)
    if not workload.embed and all(each.requests for each in coverages):
        for _ in range(requests):
            turns.take("request", partial(_requests, workload=workload))
    return ledger.series(workload), ledger.turns()


def _take_texts(turns: _InTurns, budgets: Budgets, context: MeasurementContext) -> None:
    _warm_up(lambda: [seconds for _, seconds in turns.untimed(_embedding_slice)])
    for _ in within(budgets.texts, context.clock):
        turns.take(EMBEDDING, _embedding_slice)


def _take_slices(turns: _InTurns, slices: Cut, budgets: Budgets, context: MeasurementContext) -> None:
    _warm_up(lambda: [seconds for _, seconds in turns.untimed(partial(_probe, steps=slices.generation[0]))])
    for _ in within(budgets.rounds, context.clock):
        for tokens in slices.prompt:
            turns.take("prompt", partial(_prompt, tokens=tokens))
        *all_but_last, last = slices.generation
        for steps in all_but_last:
            turns.take("generation", partial(_generation, steps=steps))
        turns.take("generation", partial(_generation, steps=last), then=_end_round)


class _InTurns:
    """Has each subject do the same, one after the other, in an order drawn anew."""

    def __init__(self, subjects: Sequence[Loaded], context: MeasurementContext, ledger: Ledger) -> None:
        self._subjects = subjects
        self._context = context
        self._ledger = ledger

    def take(
        self, kind: str, take: Callable[[Loaded], Taken], then: Callable[[Loaded], None] = lambda _: None
    ) -> None:
        """Note what each subject took, and what disturbed it; ``then`` is done untimed."""
        places = order(self._context, len(self._subjects))
        self._ledger.begin_turn(kind, places)
        for place in places:
            with self._at_work(place) as loaded:
                if len(self._subjects) == 1:
                    self._ledger.add(kind, place, take(loaded), ())
                else:
                    self._context.noise.mark()
                    taken = take(loaded)
                    self._ledger.add(kind, place, taken, self._context.noise.since_mark())
                then(loaded)

    def untimed(self, take: Callable[[Loaded], Taken]) -> list[Taken]:
        """Return what each took, in the order of the subjects."""
        taken: dict[int, Taken] = {}
        for place in order(self._context, len(self._subjects)):
            with self._at_work(place) as loaded:
                taken[place] = take(loaded)
        return [taken[place] for place in range(len(self._subjects))]

    @contextmanager
    def _at_work(self, place: int) -> Iterator[Loaded]:
        if len(self._subjects) == 1:
            yield self._subjects[place]
            return
        with awake(self._subjects[place]) as loaded:
            yield loaded


def check_seconds(loaded: Loaded, what: str, seconds: float, *, may_be_zero: bool = False) -> None:
    """Refuse what is not a time, which would make a speed that keeps any limit, or none.

    Raises:
        RequestFailedError: It is negative, zero or not finite.
    """
    if not (math.isfinite(seconds) and (seconds > 0 or (may_be_zero and seconds == 0))):
        raise RequestFailedError(f"{loaded.build}: {what} took {seconds:g} s, which is not a time")


def _prompt(loaded: Loaded, tokens: int) -> Slice:
    read, seconds = loaded.prompt_slice(tokens)
    check_seconds(loaded, "a slice of prompt", seconds)
    return read, seconds


def _generation(loaded: Loaded, steps: int) -> Slice:
    tokens, seconds = loaded.generation_slice(steps)
    check_seconds(loaded, "a slice of generation", seconds)
    return tokens, seconds


def _end_round(loaded: Loaded) -> None:
    loaded.end_round()


def _probe(loaded: Loaded, steps: int) -> Slice:
    found = _generation(loaded, steps)
    loaded.end_round()
    return found


def _embedding_slice(loaded: Loaded) -> Slice:
    tokens, seconds = loaded.embedding_slice()
    check_seconds(loaded, "a slice of texts", seconds)
    return tokens, seconds


def _requests(loaded: Loaded, workload: Workload) -> Sequence[Request]:
    """Return one request, or those that are sent at once."""
    if loaded.coverage(workload).under_load:
        assert isinstance(loaded, ServesAtOnce)
        found = loaded.requests_at_once()
    else:
        found = [loaded.request()]
    for first, gaps in found:
        check_seconds(loaded, "a first token", first)
        for gap in gaps:
            check_seconds(loaded, "a later token", gap, may_be_zero=True)  # two may arrive at once
    return found


def _warm_up(once: Callable[[], list[float]]) -> None:
    """Repeat until the seconds are steady. The rehearsal has warmed what a prompt touches."""
    before: list[float] = []
    for _ in range(_WARM_UP_MOST):
        now = once()
        if before and all(
            abs(after - then) <= _STEADY * after for after, then in zip(now, before, strict=True)
        ):
            return
        before = now


@contextmanager
def awake(loaded: Loaded) -> Iterator[Loaded]:
    """Resume a suspended subject, and suspend it again even if it refused the work."""
    loaded.resume()
    try:
        yield loaded
    finally:
        loaded.suspend()


def order(context: MeasurementContext, count: int = 2) -> tuple[int, ...]:
    """Return the places of so many subjects in an order that the coin decides."""
    places = list(range(count))
    for last in range(count - 1, 0, -1):
        other = _below(last + 1, context.coin)
        places[last], places[other] = places[other], places[last]
    return tuple(places)


def start_order(context: MeasurementContext, count: int = 2) -> tuple[int, ...]:
    """Return the places of so many subjects in the order in which their processes start."""
    return order(replace(context, coin=context.start_coin or context.coin), count)


def _below(limit: int, coin: Callable[[], bool]) -> int:
    """Return one of the numbers below a limit, equally likely."""
    while True:
        drawn = sum(coin() << bit for bit in range((limit - 1).bit_length()))
        if drawn < limit:
            return drawn
