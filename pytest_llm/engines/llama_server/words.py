"""Texts of so many tokens, for requests as a caller writes them; no cache contains one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pytest_llm.engines.servers.words import WORDS

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

_ATTEMPTS = 4


class Tokenize(Protocol):
    """Returns the ids of a text."""

    def __call__(self, text: str, *, add_special: bool) -> Sequence[int]: ...


class Words:
    """Words that a vocabulary has as one token each, behind a space."""

    def __init__(self, tokenize: Tokenize, source: random.Random) -> None:
        """Ask which words those are.

        Raises:
            EngineError: The server does not tokenise.
        """
        self._tokenize = tokenize
        self._random = source
        found = {word: tokenize(f" {word}", add_special=False) for word in WORDS}
        self._ids = {word: ids[0] for word, ids in found.items() if len(ids) == 1}
        self._single = next(iter(self._ids), None)
        # Texts are without that word, with which slices leave the cache.
        self._written = [each for each in self._ids if each != self._single]

    @property
    def single(self) -> int | None:
        """The id of a word that any slice may generate; None if no word is one token."""
        return self._ids.get(self._single) if self._single else None

    def write(self, tokens: int, *, add_special: bool) -> str | None:
        """Return a text of exactly so many tokens, special ones included; None if none is found."""
        if not self._written:
            return None
        words = tokens
        for _ in range(_ATTEMPTS):
            text = "".join(f" {each}" for each in self._random.choices(self._written, k=words))
            off = tokens - len(self._tokenize(text, add_special=add_special))
            if not off:
                return text
            words = max(1, words + off)
        return None
