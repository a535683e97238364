"""Comparison of a control, the speed of fixed work, with the controls of stored runs."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Far above what one machine shows of itself, and below what a slower or faster host does.
LEAST = math.log(1.15)
_SPREADS = 3


def times_as_fast(stored: Sequence[float], now: float) -> float | None:
    """Return how many times as fast the machine is as the median stored control says; None if it is the same.

    It is the same up to 15 %, or up to three times the standard deviation of the stored logarithms, whichever
    is more. All values are rates above 0.
    """
    logs = [math.log(each) for each in stored]
    spread = statistics.stdev(logs) if len(logs) > 1 else 0.0
    ratio = math.log(now) - statistics.median(logs)
    return math.exp(ratio) if abs(ratio) > max(LEAST, _SPREADS * spread) else None
