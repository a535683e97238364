"""A clock that only simulated work moves, so that a stand-in's speeds are exact and cost no time.

The stand-in's environment installs it when its interpreter starts, before the worker looks at a clock.
"""

from __future__ import annotations

import time

_nanoseconds = 0


def install() -> None:
    time.perf_counter_ns = _now_ns
    time.perf_counter = _now


def advance(seconds: float) -> None:
    global _nanoseconds
    _nanoseconds += round(seconds * 1e9)


def _now_ns() -> int:
    return _nanoseconds


def _now() -> float:
    return _nanoseconds / 1e9
