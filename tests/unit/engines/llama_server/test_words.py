"""Texts of so many tokens."""

from __future__ import annotations

import random

import pytest

from pytest_llm.engines.llama_server.words import Words


class Vocabulary:
    """Words of up to six letters are one token, longer ones two; ``special`` tokens stand in front."""

    def __init__(self, special: int = 0) -> None:
        self.special = special

    def __call__(self, text: str, *, add_special: bool) -> list[int]:
        ids = [0] * (self.special if add_special else 0)
        for word in text.split():
            ids += [hash(word) % 1000] * (1 if len(word) <= 6 else 2)
        return ids


@pytest.mark.parametrize("special", [0, 1, 2])
@pytest.mark.parametrize("tokens", [3, 128, 1000])
def test_a_text_has_exactly_so_many_tokens_with_the_special_ones(special: int, tokens: int) -> None:
    vocabulary = Vocabulary(special)
    text = Words(vocabulary, random.Random(1)).write(tokens, add_special=True)
    assert text is not None
    assert len(vocabulary(text, add_special=True)) == tokens


def test_two_texts_differ() -> None:
    words = Words(Vocabulary(), random.Random(1))
    assert len({words.write(20, add_special=True) for _ in range(10)}) == 10


def test_a_vocabulary_without_a_word_has_no_text() -> None:
    words = Words(lambda text, *, add_special: [1] * len(text), random.Random(1))
    assert words.single is None
    assert words.write(10, add_special=True) is None
