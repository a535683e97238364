"""When generated tokens are an endless repetition."""

from __future__ import annotations

import pytest

from pytest_llm.stats.repetition import first_difference, loops


@pytest.mark.parametrize("period", range(1, 9))
def test_a_phrase_over_and_over_is_one(period: int) -> None:
    phrase = list(range(100, 100 + period))
    assert loops([1, 2, 3, *(phrase * 24)[:24]])


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [5] * 23,  # too few to say
        list(range(24)),
        list(range(9)) * 3,  # a longer phrase
        [5] * 23 + [6],
        [6] + [5] * 10 + [6] + [5] * 12,
    ],
)
def test_anything_else_is_none(tokens: list[int]) -> None:
    assert not loops(tokens)


def test_the_first_difference_is_found_or_none() -> None:
    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 9, 3]) == 1
    assert first_difference([1, 2], [1, 2, 3]) == 2
