"""Slices on one slot: what is sent, what is timed, and what the cache must have held."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_server.completion import Completion
from pytest_llm.engines.llama_server.slot import Slot
from pytest_llm.engines.servers.client import UnfitError

if TYPE_CHECKING:
    from collections.abc import Sequence

WORD, VOCABULARY = 7, 50
PER_PROMPT_TOKEN, PER_TOKEN = 0.001, 0.01


class Server:
    """A slot as llama-server has one: it keeps the beginning that a prompt shares with the one before.

    Attributes:
        decoded: For each request, the positions of the prompt that were decoded.
        keeps: Whether it can keep only a part of what it has.
    """

    def __init__(self) -> None:
        self.held: list[int] = []
        self.decoded: list[range] = []
        self.keeps = True

    def __call__(self, ids: Sequence[int], count: int, word: int | None, cached: int | None) -> Completion:
        answer = self._answer(ids, count, word)
        if cached is not None:
            answer.check_cached(len(ids), cached)
        return answer

    def _answer(self, ids: Sequence[int], count: int, word: int | None) -> Completion:
        same = next((at for at, (a, b) in enumerate(zip(self.held, ids, strict=False)) if a != b), None)
        cached = min(len(self.held), len(ids)) if same is None else same
        cached = min(cached, len(ids) - 1)
        if not self.keeps and cached < len(self.held) - 1:
            cached = 0
        self.decoded.append(range(cached, len(ids)))
        made = [each if word is None else word for each in range(count)]
        self.held = [*ids, *made[:-1]]
        first = (len(ids) - cached) * PER_PROMPT_TOKEN
        arrivals = tuple(first + step * PER_TOKEN for step in range(count))
        return Completion(arrivals, tuple(made), (), (), len(ids), cached)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def slot(server: Server) -> Slot:
    return Slot(server, VOCABULARY, WORD, random.Random(1))


def test_a_round_goes_on_where_each_slice_ended(slot: Slot, server: Server) -> None:
    slot.go_to(10)
    assert slot.read(4) == pytest.approx(4 * PER_PROMPT_TOKEN)
    assert slot.read(2) == pytest.approx(2 * PER_PROMPT_TOKEN)
    assert slot.generate(3) == pytest.approx(3 * PER_TOKEN)
    assert slot.generate(5) == pytest.approx(5 * PER_TOKEN)
    # First the cache is emptied. Of generation, the last token before it is decoded again, untimed.
    assert server.decoded == [range(1), range(10), range(10, 14), range(14, 16), range(15, 16), range(18, 19)]
    assert server.held[16:] == [WORD] * 8


def test_each_round_begins_at_the_depth_with_fresh_tokens(slot: Slot, server: Server) -> None:
    slot.go_to(6)
    depth = [*slot.depth]
    prompts = []
    for _ in range(20):
        slot.read(3)
        prompts.append(tuple(server.held[6:9]))
        slot.generate(2)
        slot.end_round()
        assert server.held[:6] == depth
    assert len({*prompts}) > 15
    assert all(before[0] != after[0] for before, after in pairwise(prompts))


def test_without_a_depth_nothing_is_cached(slot: Slot, server: Server) -> None:
    slot.go_to(0)
    for _ in range(100):
        slot.read(1)
        slot.end_round()
    assert server.decoded == [range(1)] * (1 + 100)


def test_a_prompt_does_not_begin_as_what_the_slices_before_have_generated(slot: Slot, server: Server) -> None:
    slot.go_to(3)
    for _ in range(100):
        slot.generate(2)
        slot.end_round()
        slot.read(1)
        slot.end_round()
    assert {len(each) for each in server.decoded} == {1, 3}


def test_without_a_depth_generation_may_come_first(slot: Slot, server: Server) -> None:
    slot.go_to(0)
    assert slot.generate(2) == pytest.approx(2 * PER_TOKEN)
    slot.end_round()
    assert slot.generate(2) == pytest.approx(2 * PER_TOKEN)
    assert server.decoded == [range(1), range(1)]


def test_a_slot_that_another_request_has_used_is_at_its_depth(slot: Slot, server: Server) -> None:
    slot.go_to(4)
    slot.read(2)
    slot.end_round()
    server.held = [*slot.depth, 1, 2, 3]
    slot.forget()
    slot.read(3)
    assert server.decoded[-1] == range(4, 7)


def test_a_cache_that_cannot_be_continued_is_no_measurement(slot: Slot, server: Server) -> None:
    server.keeps = False
    slot.go_to(8)
    slot.read(4)
    slot.end_round()
    with pytest.raises(UnfitError, match="decoded 12 of 12 ids anew where 4 of 12 were new"):
        slot.read(4)


def test_where_tokens_are_drafted_prompts_are_pieces_of_a_text_and_what_is_generated_stays(
    server: Server,
) -> None:
    text = list(range(10, 40))
    slot = Slot(server, VOCABULARY, WORD, random.Random(1), text)
    slot.go_to(0)
    slot.read(6)
    piece = server.held[:6]
    assert piece in [[text[(at + each) % 30] for each in range(6)] for at in range(30)]
    slot.generate(4)
    slot.generate(2)
    assert server.held[:10] == [*piece, 0, 1, 2, 3]
    assert server.decoded[-1] == range(9, 10)
