"""Minimum detectable effect of the signed-rank test."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import stdev
from typing import TYPE_CHECKING

from pytest_llm.stats.signed_rank import critical_sum

if TYPE_CHECKING:
    from collections.abc import Sequence

POWER = 0.95
_DRAWS = 4000
_CHUNK = 500


def minimum_detectable_effect(log_ratios: Sequence[float], null: float, level: float) -> float | None:
    """Return the slowdown that as many sessions call with 95 % power, as a ratio: 0.034 is 3.4 % more time.

    The test rejects once a certain order statistic of the Walsh averages exceeds the null value. A simulation
    of standard normal samples gives the shift that this takes, in units of the estimated standard deviation,
    so that the power includes the error of that estimate. The plain standard deviation (of at least two
    sessions) is used, because a robust one would ignore the sessions that keep the test from rejecting. None
    if no sample of that size can be significant.
    """
    sessions = len(log_ratios)
    needed = critical_sum(sessions, level)
    if needed is None:
        return None
    return math.expm1(null + _shift(sessions, needed) * stdev(log_ratios))


@lru_cache(maxsize=64)
def _shift(sessions: int, needed: int) -> float:
    """Return the shift that is detected with 95 % power, in estimated standard deviations."""
    import numpy as np  # slow to import, and most runs compare nothing

    source = np.random.RandomState(0)  # a frozen stream (NEP 19): the same run always has the same MDE
    first, second = np.triu_indices(sessions)
    drawn = []
    for _ in range(_DRAWS // _CHUNK):
        sample, other = source.standard_normal((2, _CHUNK, sessions))
        averages = (sample[:, first] + sample[:, second]) / 2
        decisive = len(first) - needed
        averages.partition(decisive, axis=1)
        drawn.append(-averages[:, decisive] / other.std(axis=1, ddof=1))
    return float(np.quantile(np.concatenate(drawn), POWER))
