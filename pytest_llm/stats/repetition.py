"""Repetition in generated tokens, and the first difference of two sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_PERIOD = 8
_TAIL = 24  # three times the longest phrase


def loops(tokens: Sequence[int]) -> bool:
    """Return whether the last 24 tokens repeat a phrase of up to 8 tokens."""
    tail = tokens[-_TAIL:]
    return len(tail) == _TAIL and any(
        all(tail[index] == tail[index + period] for index in range(_TAIL - period))
        for period in range(1, _LONGEST_PERIOD + 1)
    )


def first_difference(one: Sequence[object], other: Sequence[object]) -> int | None:
    """Return the first index at which two sequences differ; None if they are equal."""
    if list(one) == list(other):
        return None
    pairs = zip(one, other, strict=False)
    shorter = min(len(one), len(other))
    return next((index for index, (mine, its) in enumerate(pairs) if mine != its), shorter)
