"""At which positions outputs are compared."""

from __future__ import annotations

import pytest

from pytest_llm.checks.output.prompts import plan_passages, plan_positions
from pytest_llm.records import Passage


def test_a_long_prompt_is_one_passage_of_more_than_two_ubatches_and_its_end_goes_token_by_token() -> None:
    plan = plan_passages([list(range(3000))], room=4096, parallel=1)

    first, second, third, end, _ = plan.passages
    assert first.sequences == (tuple(range(1280)),)
    assert (first.start, first.singly) == (0, 32)
    assert second.sequences + third.sequences == (tuple(range(1280, 2560)), tuple(range(2560, 3000)))
    assert plan.positions() == 3000 + 64 + 64
    assert end == Passage((tuple(range(64)),), start=4096 - 64)  # the last positions that there are
    assert plan.ends() == [1279, 2559, 2999, 3063, 3127]


@pytest.mark.parametrize(
    ("room", "end", "told"),
    [
        (256, 256, ""),
        (4096, 4096, ""),
        (8192, 4096, "positions 4096 to 8192 are not captured with a full cache"),
    ],
)
def test_the_last_positions_come_after_a_full_cache_as_far_as_it_is_bounded(
    room: int, end: int, told: str
) -> None:
    plan = plan_passages([[1, 2, 3], [4, 5, 6, 7]], room, parallel=1)

    full = plan.passages[-1]
    assert len(full.before) == full.start == end - 64
    assert full.start + len(full.sequences[0]) == end
    assert [*full.before, *full.sequences[0]] == [1 + index % 7 for index in range(end)]
    assert (full.singly, full.positions()) == (16, 64)
    assert plan.not_covered() == told


def test_subjects_that_round_less_are_spared_the_full_cache() -> None:
    plan = plan_passages([list(range(300))], room=512, parallel=1)
    assert plan.unfilled().passages == plan.passages[:-1]
    assert plan.again() == plan._replace(generate=0)
    assert plan.unfilled().generate == 0


def test_passages_leave_room_to_generate() -> None:
    plan = plan_passages([list(range(500))], room=256, parallel=1)

    assert plan.generate == 48
    assert [len(each.sequences[0]) for each in plan.passages] == [208, 208, 84, 64, 64]
    assert all(each.start + len(each.sequences[0]) <= 256 for each in plan.passages)


def test_the_smallest_context_and_the_shortest_prompt_will_do() -> None:
    plan = plan_passages([[7]], room=4, parallel=1)
    assert [each.sequences for each in plan.passages] == [((7,),), ((7,),)]
    assert plan.generate == 1


def test_every_prompt_counts() -> None:
    plan = plan_passages([[1, 2], [3, 4, 5]], room=100, parallel=1)
    assert [each.sequences for each in plan.passages] == [((1, 2),), ((3, 4, 5),), ((1, 2),)]


def test_parallel_sequences_go_beside_each_other_with_tokens_of_their_own() -> None:
    plan = plan_passages([list(range(40))], room=200, parallel=3)
    beside = plan.passages[-2]
    assert beside.sequences == (tuple(range(16)), tuple(range(16, 32)), (*range(32, 40), *range(8)))


def test_what_follows_each_row_is_the_next_token_of_its_own_sequence() -> None:
    plan = plan_passages([list(range(40))], room=40, parallel=2)
    rows = plan.following()
    assert len(rows) == plan.positions()
    assert rows[:30] == [*range(1, 30), None]
    assert rows[-32:-28] == [1, 17, 2, 18]  # step by step
    assert rows[-2:] == [None, None]


def test_where_each_position_is_a_request_few_are_kept_from_the_first_to_the_last() -> None:
    plan = plan_positions([list(range(3000)), [1, 2]], room=4096)

    (passage,) = plan.passages
    assert passage.sequences == (tuple(range(1280)),)
    assert (passage.kept[0], passage.kept[-1], len(passage.kept)) == (0, 1279, 24)
    assert list(passage.kept) == sorted(set(passage.kept))
    assert plan.positions() == 24
    assert plan.following() == [each + 1 for each in passage.kept[:-1]] + [None]
    assert "full cache" in plan.not_covered()
    whole = plan._replace(passages=(Passage(passage.sequences),))
    assert plan.digest() != whole.digest()


def test_a_prompt_shorter_than_what_is_kept_is_kept_whole() -> None:
    assert plan_positions([[5, 6, 7]], room=64).passages == (Passage(((5, 6, 7),), kept=(0, 1, 2)),)
