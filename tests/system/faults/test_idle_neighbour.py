"""Whoever waits must be idle: the same build, whose threads spin while they wait, is as fast as itself.

Comparing a build with itself cannot show that, since then both are disturbed alike.
"""

from __future__ import annotations

import math
import os
import random
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.client import LoadedModel
from pytest_llm.measure.budgets import PAIR
from pytest_llm.measure.limits import TimeLimits
from pytest_llm.measure.rounds import MeasurementContext, awake, cut, measure_rounds, pace_of
from pytest_llm.records import Workload
from pytest_llm.reports.progress import ProgressDisplay

from .preload import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_llm.records import Series

    from .conftest import Start

WORKLOAD = Workload(prompt_tokens=16, generate_tokens=16)
SPINNING = Fault(spin=1)


class NeverStopped(LoadedModel):
    """What waits without being stopped: what a comparison would be without the stopping."""

    def __init__(self, other: LoadedModel) -> None:
        vars(self).update(vars(other))

    def suspend(self) -> None: ...

    def resume(self) -> None: ...


class Calm:
    def mark(self) -> None: ...

    def since_mark(self) -> tuple[str, ...]:
        return ()


class Unwatched:
    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        yield {}


def measurement_context() -> MeasurementContext:
    drawn = random.Random(0)
    return MeasurementContext(
        probe=Unwatched(),
        noise=Calm(),
        clock=time.monotonic,
        progress=ProgressDisplay(lambda _: None),
        coin=lambda: drawn.random() < 0.5,
        room=lambda: math.inf,
        limits=TimeLimits(math.inf),
    )


def log_ratio(spinning: LoadedModel, normal: LoadedModel) -> float:
    """By how much the time of a slice differs, as one session says it."""
    pair = (spinning, normal)
    for each in pair:
        each.suspend()
    paces = []
    for each in pair:
        with awake(each):
            paces.append(pace_of(each, each.rehearse(WORKLOAD)))
    (ours, theirs), _ = measure_rounds(pair, WORKLOAD, cut(WORKLOAD, paces), PAIR, measurement_context())
    rounds = zip(ours["generation"].values, theirs["generation"].values, strict=True)
    return median(math.log(mine / other) for mine, other in rounds)


@pytest.fixture
def pair(start: Start) -> tuple[LoadedModel, LoadedModel]:
    # Spinning disturbs only where processors are shared, and they share this one whatever else runs.
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        return start(SPINNING), start()
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.timed
def test_a_build_whose_threads_spin_while_they_wait_is_as_fast_as_itself(
    pair: tuple[LoadedModel, LoadedModel],
) -> None:
    assert abs(log_ratio(*pair)) < 0.06


@pytest.mark.timed
def test_without_the_stopping_the_same_build_would_look_much_faster(
    pair: tuple[LoadedModel, LoadedModel],
) -> None:
    spinning, normal = pair
    assert log_ratio(NeverStopped(spinning), NeverStopped(normal)) < -0.2
