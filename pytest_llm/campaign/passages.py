"""At which positions outputs are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.records import Passage

if TYPE_CHECKING:
    from collections.abc import Sequence

# Two and a half times llama.cpp's default ubatch: some breaks need more than one.
_LONGEST = 1280
# Decoded one at a time at the end of the first passage, as generated tokens are, with all of it behind them.
_SINGLY = 32
_AT_THE_END = 64
_IN_PARALLEL = 16
# A phrase has to come three times to be called a repetition.
_GENERATED = 48


class Course(NamedTuple):
    """What a subject goes through: passages, and how many tokens to generate after the first."""

    passages: tuple[Passage, ...]
    generate: int

    def positions(self) -> int:
        """Return how many positions have logits."""
        return sum(each.positions() for each in self.passages)

    def following(self) -> list[int | None]:
        """Return, for each row of logits, the token that does follow it; None where none does."""
        return [token for each in self.passages for token in _following(each)]


def plan_course(prompts: Sequence[Sequence[int]], room: int, parallel: int) -> Course:
    """Cut prompts into passages, and add those of which a long prompt alone says nothing.

    Those are the last positions of the context, and sequences beside each other where there will be any.

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
    return Course(tuple(passages), generate)


def _taken(tokens: Sequence[int], length: int, number: int) -> tuple[int, ...]:
    return tuple(tokens[(number * length + index) % len(tokens)] for index in range(length))


def _following(passage: Passage) -> list[int | None]:
    length = len(passage.sequences[0])
    return [
        sequence[index + 1] if index + 1 < length else None
        for index in range(length)
        for sequence in passage.sequences
    ]
