"""Rounds of slices: what one session times of a subject or of a pair.

A round of a pair is the same slice of both, one after the other, in an order that a coin decides. Whichever
waits is stopped: threads that spin while they wait would be measured as the other's slowness, and comparing a
build with itself could not show it.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from pytest_llm.errors import RequestFailedError
from pytest_llm.records import Series
from pytest_llm.records.metrics import EMBEDDING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_llm.measure.limits import TimeLimits
    from pytest_llm.records import Control, PairedRun, Run, Workload
    from pytest_llm.records.protocols import AnonymousReader, Clock, Loaded, Noise, Probe, Progress

    Pair = tuple[Loaded, Loaded]
    Slice = tuple[int, float]
    Request = tuple[float, Sequence[float]]

Taken = TypeVar("Taken")


@dataclass(frozen=True)
class Budget:
    """How often a session does a thing: at least, at most, and for about how many seconds."""

    least: int
    most: int
    seconds: float


@dataclass(frozen=True)
class SliceFloor:
    """The smallest slice of generation worth timing: so many steps, and so many seconds."""

    steps: int
    seconds: float


# Far above the clock's resolution, far below the seconds over which a shared machine's speed wanders. On a
# GPU a few tokens measure the launch of the graph and little else.
ON_CPU = SliceFloor(steps=4, seconds=0.03)
ON_GPU = SliceFloor(steps=32, seconds=0.3)

# A subject alone: rounds of a prompt slice and a generation slice, then requests.
SOLO_ROUNDS = Budget(least=3, most=30, seconds=2.0)
SOLO_TEXTS = Budget(least=5, most=60, seconds=2.0)
# A pair: many short rounds beat few long ones. A slice of prompt is ten times as long as one of generation.
PROMPT_ROUNDS = Budget(least=5, most=30, seconds=5.0)
GENERATION_ROUNDS = Budget(least=15, most=30, seconds=2.5)
_WARM_UP_MOST = 8
_STEADY = 0.25


@dataclass(frozen=True)
class MeasurementContext:
    """Probes, clock, coin and limits of a campaign.

    Attributes:
        probe: Watches the memory of processes.
        noise: Names the rounds that something from outside disturbed.
        clock: For budgets; what is reported is timed inside the worker.
        progress: Shows each session.
        coin: True or False, equally likely.
        start_coin: Decides which process of a pair starts first; None is ``coin``.
        room: Bytes of memory that are free now.
        limits: Of the time that it takes.
        anonymous: Reads the allocated memory of a process, for workloads that are watched for leaks.
        on_session: Receives the runs of all sessions so far after each session.
        control: The speed of the machine now; None if it was not measured.
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


@dataclass(frozen=True)
class Disturbances:
    """How many rounds were disturbed from outside, by the reason.

    Attributes:
        dropped: Left out.
        counted: Kept, since too few would be left.
    """

    dropped: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)


def measure_solo(loaded: Loaded, workload: Workload, clock: Clock, requests: int = 1) -> dict[str, Series]:
    """Warm up, then time rounds of slices and a number of whole requests of the only subject.

    Raises:
        EngineError: The worker refused, died or hung.
    """
    coverage = loaded.coverage(workload)
    if not coverage.slices:
        return {}
    if workload.embed:
        _warm_up(lambda: [_embedding_slice(loaded)[1]])
        return _embedding([_embedding_slice(loaded) for _ in within(SOLO_TEXTS, clock)])
    steps = generation_steps(loaded, workload)
    _warm_up(lambda: [_generation(loaded, steps)[1]])
    prompt: list[Slice] = []
    generation: list[Slice] = []
    for _ in within(SOLO_ROUNDS, clock):
        prompt.append(_prompt(loaded))
        generation.append(_generation(loaded, steps))
    whole = [_request(loaded) for _ in range(requests)] if coverage.requests else []
    return _series(prompt, generation, whole, workload)


def measure_half(
    loaded: Loaded, workload: Workload, steps: int, clock: Clock, requests: int = 0
) -> dict[str, Series]:
    """Time as much of one side of a pair as :func:`measure_pair` does of both.

    Raises:
        EngineError: The worker refused, died or hung.
    """
    coverage = loaded.coverage(workload)
    if not coverage.slices:
        return {}
    if workload.embed:
        _embedding_slice(loaded)
        return _embedding([_embedding_slice(loaded) for _ in within(PROMPT_ROUNDS, clock)])
    _generation(loaded, steps)
    prompt = [_prompt(loaded) for _ in within(PROMPT_ROUNDS, clock)]
    generation = [_generation(loaded, steps) for _ in within(GENERATION_ROUNDS, clock)]
    whole = [_request(loaded) for _ in range(requests)] if coverage.requests else []
    return _series(prompt, generation, whole, workload)


def measure_pair(
    pair: Pair,
    workload: Workload,
    steps: int,
    context: MeasurementContext,
    seen: Disturbances,
    requests: int = 0,
) -> tuple[dict[str, Series], dict[str, Series]]:
    """Time rounds and a number of requests of both, which are suspended; note disturbed rounds.

    Raises:
        EngineError: A worker refused, died or hung.
    """
    coverages = [each.coverage(workload) for each in pair]
    if not all(each.slices for each in coverages):
        return {}, {}
    if workload.embed:
        _warm_up(lambda: [seconds for _, seconds in _round(pair, _embedding_slice, context)])
        texts = _rounds(pair, _embedding_slice, PROMPT_ROUNDS, context, seen)
        return _embedding(texts[0]), _embedding(texts[1])
    _warm_up(lambda: [seconds for _, seconds in _round(pair, lambda each: _generation(each, steps), context)])
    prompt = _rounds(pair, _prompt, PROMPT_ROUNDS, context, seen)
    generation = _rounds(pair, lambda each: _generation(each, steps), GENERATION_ROUNDS, context, seen)
    whole: tuple[list[Request], list[Request]] = ([], [])
    if requests and all(each.requests for each in coverages):
        whole = _rounds(pair, _request, Budget(requests, requests, math.inf), context, seen)
    ours, theirs = (_series(prompt[i], generation[i], whole[i], workload) for i in (0, 1))
    return ours, theirs


def generation_steps(loaded: Loaded, workload: Workload) -> int:
    """Return how many decodes a slice of generation takes, for a subject at the workload's depth."""
    floor = ON_GPU if loaded.on_gpu else ON_CPU
    _, seconds = _generation(loaded, floor.steps)
    steps = math.ceil(floor.seconds * floor.steps / seconds)
    # More than the workload generates would measure another depth.
    return max(floor.steps, min(steps, workload.generate_tokens))


def within(budget: Budget, clock: Clock) -> Iterator[int]:
    """Count from 0 for as long as a budget lasts."""
    started = clock()
    for done in range(budget.most):
        if done >= budget.least and clock() - started >= budget.seconds:
            return
        yield done


def load_series(loaded: Loaded, workload: Workload, seconds: float) -> dict[str, Series]:
    """Return the seconds of a subject's ``load`` as a series, if they are those of loading.

    Raises:
        RequestFailedError: They are not a time.
    """
    if not loaded.coverage(workload).load:
        return {}
    _check(loaded, "loading", seconds, may_be_zero=True)
    return {"load": Series((seconds,))}


def _prompt(loaded: Loaded) -> Slice:
    tokens, seconds = loaded.prompt_slice()
    _check(loaded, "a slice of prompt", seconds)
    return tokens, seconds


def _generation(loaded: Loaded, steps: int) -> Slice:
    tokens, seconds = loaded.generation_slice(steps)
    _check(loaded, "a slice of generation", seconds)
    return tokens, seconds


def _embedding_slice(loaded: Loaded) -> Slice:
    tokens, seconds = loaded.embedding_slice()
    _check(loaded, "a slice of texts", seconds)
    return tokens, seconds


def _request(loaded: Loaded) -> Request:
    first, gaps = loaded.request()
    _check(loaded, "a first token", first)
    for gap in gaps:
        _check(loaded, "a later token", gap, may_be_zero=True)  # two may arrive at once
    return first, gaps


def _check(loaded: Loaded, what: str, seconds: float, *, may_be_zero: bool = False) -> None:
    """Refuse what is not a time, which would make a speed that keeps any limit, or none."""
    if not (math.isfinite(seconds) and (seconds > 0 or (may_be_zero and seconds == 0))):
        raise RequestFailedError(f"{loaded.build}: {what} took {seconds:g} s, which is not a time")


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


def _rounds(
    pair: Pair,
    take: Callable[[Loaded], Taken],
    budget: Budget,
    context: MeasurementContext,
    seen: Disturbances,
) -> tuple[list[Taken], list[Taken]]:
    """Time the same of both in turns; leave out rounds that were disturbed, unless too few would be left."""
    rounds: list[tuple[tuple[Taken, Taken], tuple[str, ...]]] = []
    for _ in within(budget, context.clock):
        context.noise.mark()
        taken = _round(pair, take, context)
        rounds.append((taken, context.noise.since_mark()))
    calm = [taken for taken, reasons in rounds if not reasons]
    if len(calm) < budget.least:
        calm = [taken for taken, _ in rounds]
        seen.counted.update(reasons[0] for _, reasons in rounds if reasons)
    else:
        seen.dropped.update(reasons[0] for _, reasons in rounds if reasons)
    return [ours for ours, _ in calm], [theirs for _, theirs in calm]


def _round(pair: Pair, take: Callable[[Loaded], Taken], context: MeasurementContext) -> tuple[Taken, Taken]:
    taken: dict[int, Taken] = {}
    for place in order(context):
        with awake(pair[place]) as loaded:
            taken[place] = take(loaded)
    return taken[0], taken[1]


def _series(
    prompt: Sequence[Slice], generation: Sequence[Slice], requests: Sequence[Request], workload: Workload
) -> dict[str, Series]:
    found = {"prompt": _slice_series(prompt), "generation": _slice_series(generation)}
    if requests:
        tokens = workload.parallel * (workload.prompt_tokens + workload.generate_tokens)
        found["request"] = Series(tuple(first + math.fsum(gaps) for first, gaps in requests), tokens)
        found["first_token"] = Series(tuple(first for first, _ in requests))
        found["inter_token"] = Series(tuple(gap for _, gaps in requests for gap in gaps))
    return found


def _embedding(slices: Sequence[Slice]) -> dict[str, Series]:
    return {EMBEDDING: _slice_series(slices)}


def _slice_series(slices: Sequence[Slice]) -> Series:
    return Series(tuple(seconds for _, seconds in slices), slices[0][0])


@contextmanager
def awake(loaded: Loaded) -> Iterator[Loaded]:
    """Resume a suspended subject, and suspend it again even if it refused the work."""
    loaded.resume()
    try:
        yield loaded
    finally:
        loaded.suspend()


def order(context: MeasurementContext) -> tuple[int, int]:
    """Return the places of a pair in an order that a coin decides."""
    return (0, 1) if context.coin() else (1, 0)


def start_order(context: MeasurementContext) -> tuple[int, int]:
    """Return the places of a pair in the order in which their processes start."""
    return order(replace(context, coin=context.start_coin or context.coin))
