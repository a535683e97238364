"""Disturbances from outside: which turns of a pair count, decided without a look at their results.

A reason drops the turns that it struck if it struck both sides about equally often. One that strikes a side
more often may be that side's own doing, such as a build that uses up the CPU quota: then everything counts.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import Turns

LEVEL = 0.05  # of the two-sided binomial test
_LEAST_LEFT = 0.5  # of the turns of a session; with fewer, all of them count


class Strikes(NamedTuple):
    """How many values a reason struck: of the candidate and of the reference."""

    candidate: int
    reference: int

    @property
    def even(self) -> bool:
        """Whether both sides may have been struck equally often: two-sided exact binomial test."""
        count, fewer = sum(self), min(self)
        tail = sum(math.comb(count, each) for each in range(fewer + 1)) / 2**count
        return bool(min(1.0, 2 * tail) > LEVEL)


def strikes(sessions: Sequence[Mapping[str, Turns]]) -> dict[str, Strikes]:
    """Return how often each reason struck in some sessions, over all kinds of turns."""
    found: dict[str, Counter[int]] = {}
    for session in sessions:
        for turns in session.values():
            for reason, struck in turns.struck.items():
                counts = found.setdefault(reason, Counter())
                counts.update({0: len(struck.candidate), 1: len(struck.reference)})
    return {reason: Strikes(counts[0], counts[1]) for reason, counts in found.items()}


def dropped(sessions: Sequence[Mapping[str, Turns]], kind: str) -> frozenset[int]:
    """Return the turns of the last of these sessions that do not count.

    Args:
        sessions: All up to that one, so that a decision rests on what was known then.
        kind: "prompt", "generation", "embedding" or "request".
    """
    turns = sessions[-1].get(kind) if sessions else None
    if turns is None or not turns.struck:
        return frozenset()
    even = {reason for reason, counts in strikes(sessions).items() if counts.even}
    found = {
        turn
        for reason, struck in turns.struck.items()
        if reason in even
        for turn in (*struck.candidate, *struck.reference)
    }
    left = len(turns.first) - len(found)
    return frozenset(found) if left >= _LEAST_LEFT * len(turns.first) else frozenset()
