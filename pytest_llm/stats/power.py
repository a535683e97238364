"""What a paired run could have seen: the least slowdown that it would have called."""

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


def minimum_detectable_effect(
    log_ratios: Sequence[float], null: float, sessions: int, level: float
) -> float | None:
    """Return by how much something must be slower for the test to call it in 95 % of runs like this one.

    The test of "above null" rejects once enough Walsh averages exceed it, that is, once one order statistic
    of them does, and that moves with the shift. What the shift has to make up for is drawn once from normal
    samples of sd 1, and scaled by the sample's own sd. The sd is the plain one: a robust one would leave out
    the very sessions that keep the test from rejecting. That it is itself estimated is drawn along, so that
    the power is 95 % on average over runs, not only where the spread is known.

    Args:
        log_ratios: One a session; at least two.
        null: The log ratio that is tested against.
        sessions: How many the test takes.
        level: At which it rejects.

    Returns:
        0.034 means 3.4 % more time; None where the test cannot reject whatever the sample.
    """
    needed = critical_sum(sessions, level)
    if needed is None:
        return None
    return math.expm1(null + _shift(sessions, needed) * stdev(log_ratios))


@lru_cache(maxsize=64)
def _shift(sessions: int, needed: int) -> float:
    """Return the shift that the test sees with 95 % power, in sds as another run estimates them."""
    import numpy as np  # most runs compare nothing

    source = np.random.RandomState(0)  # its stream is frozen (NEP 19): the same run always has the same MDE
    first, second = np.triu_indices(sessions)
    drawn = []
    for _ in range(_DRAWS // _CHUNK):
        sample, other = source.standard_normal((2, _CHUNK, sessions))
        averages = (sample[:, first] + sample[:, second]) / 2
        decisive = len(first) - needed
        averages.partition(decisive, axis=1)
        drawn.append(-averages[:, decisive] / other.std(axis=1, ddof=1))
    return float(np.quantile(np.concatenate(drawn), POWER))
