"""A clock that only simulated work moves, so that a stand-in's speeds are exact and cost no time.

The stand-in's environment installs it when its interpreter starts, before the worker looks at a clock.
"""

from __future__ import annotations

import time

_nanoseconds = 0
_readings = 0

# Who reads the clock so often, with no work between, waits in a loop for time to pass: it shall.
_PATIENCE = 1000
_STEP_NS = 1000


def install() -> None:
    time.perf_counter_ns = _now_ns
    time.perf_counter = _now


def advance(seconds: float) -> None:
    global _nanoseconds, _readings
    _nanoseconds += round(seconds * 1e9)
    _readings = 0


def _now_ns() -> int:
    global _nanoseconds, _readings
    _readings += 1
    if _readings > _PATIENCE:
        _nanoseconds += _STEP_NS
    return _nanoseconds


def _now() -> float:
    return _now_ns() / 1e9
