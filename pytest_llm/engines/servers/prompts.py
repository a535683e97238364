"""Texts of so many tokens for a server that tells only how many tokens a prompt had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.engines.servers.words import WORDS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_ATTEMPTS = 6
_TEXTS = 3  # that are counted in each


class Prompts:
    """Words that are one token each in most vocabularies; no two texts in a row begin alike."""

    def __init__(self, count: Callable[[str], int], source: random.Random) -> None:
        """Take what counts the tokens of a text, and where words are drawn from."""
        self._count = count
        self._random = source
        self._words = 0
        self._first = ""

    def fit(self, tokens: int) -> bool:
        """Find out how many words have so many tokens, special ones included; return if any do."""
        self._words = tokens
        for _ in range(_ATTEMPTS):
            # A word that is two tokens must not decide for those that are one.
            off = tokens - sorted(self._count(self.write()) for _ in range(_TEXTS))[_TEXTS // 2]
            if not off:
                return True
            self._words = max(1, self._words + off)
        return False

    def write(self) -> str:
        """Return a fresh text; with a space before it, the first word has as many tokens as elsewhere."""
        self._first = self._random.choice([each for each in WORDS if each != self._first])
        words = [self._first, *self._random.choices(WORDS, k=self._words - 1)]
        return "".join(f" {each}" for each in words)
