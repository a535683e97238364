"""One slot of a server, and the token ids in its cache.

A slice of a prompt is a request with all ids so far and the next ones, answered by one token. A slice of
generation sends all ids so far, so that the last one is decoded again, untimed, and times from the first
token to the last. Each token is forced to be the same word, whose id is known whatever a chunk holds.
A server that drafts tokens is as fast as its text is easy to guess: there prompts are pieces of a text, and
the model goes on as it likes. How many ids were cached is checked each time: otherwise a slice would have
timed something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from pytest_llm.engines.llama_server.completion import Completion


class Complete(Protocol):
    """Sends ids to the slot; see :meth:`Api.continued`."""

    def __call__(
        self, ids: Sequence[int], count: int, word: int | None, cached: int | None
    ) -> Completion: ...


class Slot:
    """The ids of a round: those of the depth, then what the slices have added."""

    def __init__(
        self,
        complete: Complete,
        vocabulary: int,
        word: int,
        source: random.Random,
        text: Sequence[int] = (),
    ) -> None:
        """Take a slot that may hold anything.

        Args:
            complete: Sends a request.
            vocabulary: How many tokens there are.
            word: The id of the token that is generated.
            source: Draws the ids of prompts.
            text: Ids of a text; if there are any, prompts are pieces of it, and any token is generated.
        """
        self._complete = complete
        self._vocabulary = vocabulary
        self._word = word
        self._random = source
        self._text = text
        self._depth: list[int] = []
        self._ids: list[int] = []
        self._held: list[int] | None = None  # not known

    @property
    def depth(self) -> Sequence[int]:
        """The ids before a round's prompt."""
        return self._depth

    def go_to(self, depth: int) -> None:
        """Fill the cache with so many fresh ids."""
        self._depth = self._ids = []
        if depth:
            self.read(depth)
            self._depth = self._ids

    def read(self, tokens: int) -> float:
        """Have the next tokens of a prompt decoded; return the seconds to the token after them.

        Raises:
            EngineError: The server refused, died or hung, or did not keep what it had.
        """
        if self._held is None:
            self.empty()
        ids = [*self._ids, *self._fresh(tokens)]
        answer = self._ask(ids, 1, len(self._ids))
        self._ids = ids
        return answer.arrivals[0]

    def generate(self, steps: int) -> float:
        """Have so many tokens decoded; return the seconds from the first token to the last.

        Raises:
            EngineError: See :meth:`read`.
        """
        ids = self._ids or [self._word]  # a server decodes nothing after nothing
        answer = self._ask(ids, steps + 1, len(ids) - 1)
        self._ids = [*ids, *(answer.ids[:steps] if self._text else [self._word] * steps)]
        self._held = self._ids
        return answer.arrivals[-1] - answer.arrivals[0]

    def end_round(self) -> None:
        """Go back to the depth; the server drops the rest with the next request."""
        self._ids = self._depth

    def empty(self) -> None:
        """Leave nothing behind the depth but one word, so that what comes next is not in the cache."""
        ids = [*self._depth, self._word]
        self._complete(ids, 1, self._word, None)
        self._held = ids

    def forget(self) -> None:
        """Expect anything behind the depth, because another request has used the slot."""
        self._held = None

    def _ask(self, ids: Sequence[int], count: int, cached: int) -> Completion:
        answer = self._complete(ids, count, None if self._text else self._word, cached)
        self._held = [*ids]
        return answer

    def _fresh(self, count: int) -> list[int]:
        """Return ids that the cache does not go on with: random ones, or a piece of the text."""
        held = (self._held or [])[len(self._ids) : len(self._ids) + 1]
        while True:
            drawn = self.piece(count) if self._text else [self._any() for _ in range(count)]
            if [drawn[0]] != held and drawn[0] != self._word:
                return drawn

    def piece(self, count: int) -> list[int]:
        """Return so many ids of the text, from a random place on."""
        start = self._random.randrange(len(self._text))
        return [self._text[(start + at) % len(self._text)] for at in range(count)]

    def _any(self) -> int:
        return self._random.randrange(self._vocabulary)
