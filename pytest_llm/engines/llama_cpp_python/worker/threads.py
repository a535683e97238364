"""Threads: which of this process's threads work, and on how many processors they may."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Of the busiest thread's time: one that takes part waits and computes for most of it, others for none.
_TAKES_PART = 0.02
# Of the process's time: more than that was used by threads that have ended meanwhile.
_ENDED = 0.1


def count_working(work: Callable[[], object]) -> dict[str, int] | None:
    """Return how many threads take part in some work, and how many processors they may use together.

    None if they cannot be counted: builds without OpenMP start threads for each decode, whose times are gone
    when they end.
    """
    before, used = _times(), time.process_time_ns()
    work()
    used = time.process_time_ns() - used
    spent = {thread: after - before.get(thread, 0) for thread, after in _times().items()}
    if not before or not spent or used - sum(spent.values()) > _ENDED * used:
        return None
    least = _TAKES_PART * max(spent.values())
    working = [thread for thread, nanoseconds in spent.items() if nanoseconds > least]
    return {"threads": len(working), "processors": _processors(working)}


def _times() -> dict[int, int]:
    """Return the processor time of each thread in nanoseconds; nothing where the kernel does not tell."""
    if not sys.platform.startswith("linux"):
        return {}
    found = {}
    for name in os.listdir("/proc/self/task"):  # noqa: PTH208 - numbers
        try:
            # A thread's clock by its id, as pthread_getcpuclockid(3) makes it: exact, unlike /proc's ticks.
            found[int(name)] = time.clock_gettime_ns((~int(name) << 3) | 6)
        except OSError:  # it has just ended
            continue
    return found


def _processors(threads: list[int]) -> int:
    """Return how many processors these threads may run on, taken together."""
    allowed: set[int] = set()
    for thread in threads:
        try:
            allowed |= os.sched_getaffinity(thread)
        except OSError:
            continue
    return len(allowed)
