"""How much of everything a session does: slices large enough to time, rounds enough to compare."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.records import Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_llm.records import Workload
    from pytest_llm.records.protocols import Clock, Loaded


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


def generation_steps(loaded: Loaded, workload: Workload) -> int:
    """Return how many decodes a slice of generation takes, for a subject that stands at its depth."""
    floor = ON_GPU if loaded.on_gpu else ON_CPU
    _, seconds = loaded.generation_slice(floor.steps)
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


def slice_series(slices: Sequence[tuple[int, float]]) -> Series:
    """Return slices of equally many tokens as a series."""
    return Series(tuple(seconds for _, seconds in slices), slices[0][0])


def request_series(
    requests: Sequence[tuple[float, Sequence[float]]], workload: Workload
) -> dict[str, Series]:
    """Return what whole requests say: each as a whole, its first token, and what lies between tokens."""
    if not requests:
        return {}
    tokens = workload.parallel * (workload.prompt_tokens + workload.generate_tokens)
    return {
        "request": Series(tuple(first + math.fsum(gaps) for first, gaps in requests), tokens),
        "first_token": Series(tuple(first for first, _ in requests)),
        "inter_token": Series(tuple(gap for _, gaps in requests for gap in gaps)),
    }


def load_series(loaded: Loaded, workload: Workload, seconds: float) -> dict[str, Series]:
    """Return the seconds of a subject's ``load``, where that tells how long loading takes."""
    return {"load": Series((seconds,))} if loaded.coverage(workload).load else {}
