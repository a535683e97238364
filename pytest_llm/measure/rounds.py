"""Rounds of a pair: the same slice of both subjects, one after the other, in an order that a coin decides.

Whichever waits is stopped: threads that spin while they wait would be measured as the other's slowness, and
comparing a build with itself could not show it.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pytest_llm.measure.slices import Budget, request_series, slice_series, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_llm.records import Series, Workload
    from pytest_llm.records.protocols import Clock, Held, Loaded, Noise, Probe, Progress

    Pair = tuple[Loaded, Loaded]
    Request = tuple[float, Sequence[float]]

# The candidate's and the reference's place in every pair.
PLACES = (0, 1)
Taken = TypeVar("Taken")

# Many short rounds beat few long ones. A slice of prompt is ten times as long as one of generation.
PROMPT_ROUNDS = Budget(least=5, most=30, seconds=5.0)
GENERATION_ROUNDS = Budget(least=15, most=30, seconds=2.5)
REQUEST_ROUNDS = Budget(least=1, most=5, seconds=1.0)
_WARM_UP_ROUNDS_MOST = 8
_STEADY = 0.25


@dataclass(frozen=True)
class MeasurementContext:
    """What a campaign gets from outside.

    Attributes:
        probe: Watches the memory of processes.
        noise: Tells which rounds were disturbed from outside.
        clock: For budgets alone.
        progress: Shows each session.
        coin: True or False, as likely.
        room: Bytes of memory that are free now.
        patience: Seconds after which no further session begins.
        held: Tells what a process holds, for workloads that are watched for leaks.
    """

    probe: Probe
    noise: Noise
    clock: Clock
    progress: Progress
    coin: Callable[[], bool]
    room: Callable[[], float]
    patience: float
    held: Held = lambda _: None


@dataclass(frozen=True)
class Disturbances:
    """How many rounds were disturbed from outside, by the reason.

    Attributes:
        dropped: They do not count.
        counted: They do, since too few would be left.
    """

    dropped: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)


def measure_pair(
    pair: Pair, workload: Workload, steps: int, context: MeasurementContext, seen: Disturbances
) -> tuple[dict[str, Series], dict[str, Series]]:
    """Take slices and requests of both, which stand at the workload's depth; note disturbed rounds.

    Raises:
        EngineError: A worker refused, died or hung.
    """
    coverages = [each.coverage(workload) for each in pair]
    if not all(each.slices for each in coverages):
        return {}, {}
    _warm_up(pair, steps, context)
    prompt = _rounds(pair, lambda each: each.prompt_slice(), PROMPT_ROUNDS, context, seen)
    generation = _rounds(pair, lambda each: each.generation_slice(steps), GENERATION_ROUNDS, context, seen)
    requests: tuple[list[Request], list[Request]] = ([], [])
    if all(each.requests for each in coverages):
        requests = _rounds(pair, lambda each: each.request(), REQUEST_ROUNDS, context, seen)
    ours, theirs = (
        {
            "prompt": slice_series(prompt[place]),
            "generation": slice_series(generation[place]),
            **request_series(requests[place], workload),
        }
        for place in PLACES
    )
    return ours, theirs


def measure_one(
    loaded: Loaded, workload: Workload, steps: int, context: MeasurementContext
) -> dict[str, Series]:
    """Take as much of one that is alone in memory.

    Raises:
        EngineError: The worker refused, died or hung.
    """
    coverage = loaded.coverage(workload)
    if not coverage.slices:
        return {}
    loaded.generation_slice(steps)
    prompt = [loaded.prompt_slice() for _ in within(PROMPT_ROUNDS, context.clock)]
    generation = [loaded.generation_slice(steps) for _ in within(GENERATION_ROUNDS, context.clock)]
    requests = [loaded.request() for _ in within(REQUEST_ROUNDS, context.clock)] if coverage.requests else []
    return {
        "prompt": slice_series(prompt),
        "generation": slice_series(generation),
        **request_series(requests, workload),
    }


def _warm_up(pair: Pair, steps: int, context: MeasurementContext) -> None:
    before = [math.inf, math.inf]
    for _ in range(_WARM_UP_ROUNDS_MOST):
        now = [seconds for _, seconds in _round(pair, lambda each: each.generation_slice(steps), context)]
        if all(abs(after - then) <= _STEADY * after for after, then in zip(now, before, strict=True)):
            return
        before = now


def _rounds(
    pair: Pair,
    take: Callable[[Loaded], Taken],
    budget: Budget,
    context: MeasurementContext,
    seen: Disturbances,
) -> tuple[list[Taken], list[Taken]]:
    """Take the same of both in turns; leave out rounds that were disturbed from outside.

    Where too few are left, the disturbance is how this machine is, and all of them count.
    """
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


@contextmanager
def awake(loaded: Loaded) -> Iterator[Loaded]:
    """Let a waiting subject work, and stop it again, also where it refused the work."""
    loaded.resume()
    try:
        yield loaded
    finally:
        loaded.suspend()


def order(context: MeasurementContext) -> tuple[int, int]:
    """Return the places of a pair in the order of a coin's flip."""
    return (0, 1) if context.coin() else (1, 0)
