"""Whether generated tokens have become an endless repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# A phrase of up to 8 tokens that fills the last 24 of them: three times or more.
_LONGEST_PERIOD = 8
_TAIL = 24


def loops(tokens: Sequence[int]) -> bool:
    """Whether the last 24 tokens are a phrase of up to 8 tokens, over and over."""
    tail = tokens[-_TAIL:]
    return len(tail) == _TAIL and any(
        all(tail[index] == tail[index + period] for index in range(_TAIL - period))
        for period in range(1, _LONGEST_PERIOD + 1)
    )


def first_difference(one: Sequence[object], other: Sequence[object]) -> int | None:
    """Return the first index at which two sequences differ; None where they are equal."""
    if list(one) == list(other):
        return None
    pairs = zip(one, other, strict=False)
    shorter = min(len(one), len(other))
    return next((index for index, (mine, its) in enumerate(pairs) if mine != its), shorter)
