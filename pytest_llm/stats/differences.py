"""Mean difference of paired samples, with its interval."""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.stats.student_t import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence


class Difference(NamedTuple):
    """A mean difference, and its interval; None with fewer than two samples."""

    mean: float
    interval: tuple[float, float] | None


def difference(ours: Sequence[float], theirs: Sequence[float], confidence: float = 0.99) -> Difference:
    """Return the mean of ``ours - theirs`` with Student's interval for paired samples.

    Args:
        ours: One value a session.
        theirs: Those of the same sessions.
        confidence: Of the interval.

    Raises:
        ValueError: There are none, or not as many.
    """
    apart = [one - other for one, other in zip(ours, theirs, strict=True)]
    if not apart:
        raise ValueError("a difference needs at least one pair of samples")
    centre, count = mean(apart), len(apart)
    if count < 2:
        return Difference(centre, None)
    half = quantile(count - 1, (1 + confidence) / 2) * stdev(apart) / math.sqrt(count)
    return Difference(centre, (centre - half, centre + half))
