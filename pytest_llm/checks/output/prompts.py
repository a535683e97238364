"""At which positions outputs are compared."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.records import MAX_FILLED_TOKENS, Passage

if TYPE_CHECKING:
    from collections.abc import Sequence

# Two and a half times llama.cpp's default ubatch: some breaks need more than one.
_LONGEST = 1280
# Decoded one at a time at the end of the first passage, as generated tokens are, with all of it behind them.
_SINGLY = 32
_AT_THE_END = 64
_IN_PARALLEL = 16
_SINGLY_IN_FULL = 16
# A phrase has to come three times to be called a repetition.
_GENERATED = 48


class PromptPlan(NamedTuple):
    """What a subject goes through.

    Attributes:
        passages: What is decoded.
        generate: How many tokens to generate after the first passage.
        room: How many tokens of context a sequence has.
    """

    passages: tuple[Passage, ...]
    generate: int
    room: int = 0

    def positions(self) -> int:
        """Return how many positions have logits."""
        return sum(each.positions() for each in self.passages)

    def again(self) -> PromptPlan:
        """Return the plan with nothing generated."""
        return self._replace(generate=0)

    def unfilled(self) -> PromptPlan:
        """Return the plan without passages in a full cache, for subjects that round less.

        Filling costs more than the rest, and what breaks there is no matter of rounding.
        """
        return self._replace(passages=tuple(each for each in self.passages if not each.before))

    def ends(self) -> list[int]:
        """Return the last row of logits of each passage."""
        return [end - 1 for end in itertools.accumulate(each.positions() for each in self.passages)]

    def not_covered(self) -> str:
        """Say which positions no full cache was seen at, or "" where there are none."""
        if self.room <= MAX_FILLED_TOKENS:
            return ""
        return f"with a full cache, positions from {MAX_FILLED_TOKENS} of {self.room} on are not looked at"

    def following(self) -> list[int | None]:
        """Return, for each row of logits, the token that does follow it; None where none does."""
        return [token for each in self.passages for token in _following(each)]


def plan_passages(prompts: Sequence[Sequence[int]], room: int, parallel: int) -> PromptPlan:
    """Cut prompts into passages, and add those of which a long prompt alone says nothing.

    Those are the last positions of the context, in an empty cache and in one that is filled up to them, and
    sequences beside each other where there will be any. Of a large context, only the first 4096 tokens are
    filled.

    Args:
        prompts: Token ids, at least one of each.
        room: How many tokens of context a sequence has, at least 4.
        parallel: How many sequences the workload has.
    """
    generate = min(_GENERATED, room // 4)
    piece = min(_LONGEST, room - generate)
    pieces = [
        tuple(prompt[start : start + piece]) for prompt in prompts for start in range(0, len(prompt), piece)
    ]
    first = pieces[0]
    passages = [Passage((first,), singly=min(_SINGLY, len(first) // 2))]
    passages += [Passage((each,)) for each in pieces[1:]]
    if len(first) < room:
        last = first[:_AT_THE_END]
        passages.append(Passage((last,), start=room - len(last)))
    if parallel > 1:
        length = min(_IN_PARALLEL, room)
        passages.append(Passage(tuple(_taken(first, length, number) for number in range(parallel))))
    return PromptPlan((*passages, *_in_a_full_cache(prompts, room)), generate, room)


def _in_a_full_cache(prompts: Sequence[Sequence[int]], room: int) -> list[Passage]:
    """Return the last positions of the context with every one before them taken; none where it is tiny."""
    end = min(room, MAX_FILLED_TOKENS)
    if end <= 2 * _AT_THE_END:
        return []
    text = [token for prompt in prompts for token in prompt]
    tokens = tuple(itertools.islice(itertools.cycle(text), end))
    start = end - _AT_THE_END
    return [Passage((tokens[start:],), start, _SINGLY_IN_FULL, tokens[:start])]


def _taken(tokens: Sequence[int], length: int, number: int) -> tuple[int, ...]:
    return tuple(tokens[(number * length + index) % len(tokens)] for index in range(length))


def _following(passage: Passage) -> list[int | None]:
    length = len(passage.sequences[0])
    return [
        sequence[index + 1] if index + 1 < length else None
        for index in range(length)
        for sequence in passage.sequences
    ]
