"""Every step along a row of builds is found, none is invented, with no more comparisons than promised."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.bisect.search import (
    PairResult,
    Relation,
    SearchResult,
    bill,
    compare_neighbours,
    search,
)

if TYPE_CHECKING:
    from pytest_llm.bisect.search import Compare

TOLERANCE = math.log1p(0.05)
NEGLIGIBLE = TOLERANCE / 5


@dataclass
class Row:
    """Builds, each by so much worse than the one before it; some of them cannot be tested."""

    steps: list[float]
    untestable: frozenset[int] = frozenset()
    noise: dict[tuple[int, int], float] = field(default_factory=dict)
    width: float = 0.0
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.steps) + 1

    def true(self, first: int, last: int) -> float:
        return sum(self.steps[first:last])

    def compare(self, first: int, last: int) -> PairResult:
        assert first < last
        assert (first, last) not in self.asked, "a pair is measured once"
        self.asked.append((first, last))
        if self.untestable & {first, last}:
            return PairResult(Relation.UNTESTABLE)
        size = self.true(first, last) + self.noise.get((first, last), 0.0)
        return answer(size, self.width)

    def search(self) -> SearchResult:
        return search(self.count, self.compare, NEGLIGIBLE)

    def expected(self) -> list[tuple[int, int]]:
        """The neighbours, among the builds that can be tested, that can be told apart."""
        testable = [place for place in range(self.count) if place not in self.untestable]
        return [pair for pair in itertools.pairwise(testable) if abs(self.true(*pair)) > NEGLIGIBLE]


def answer(size: float, width: float = 0.0) -> PairResult:
    """What the paired rule says, with an interval that holds the truth."""
    low, high = size - width, size + width
    if low > NEGLIGIBLE:
        return PairResult(Relation.WORSE, size, low, high)
    if high < -NEGLIGIBLE:
        return PairResult(Relation.BETTER, size, low, high)
    if high < TOLERANCE:
        return PairResult(Relation.SAME, size, low, high)
    return PairResult(Relation.INCONCLUSIVE, size, low, high)


def places(found: SearchResult) -> list[tuple[int, int]]:
    return [(each.first, each.last) for each in found.steps]


losses = st.one_of(st.just(0.0), st.floats(0.06, 1.0))
rows_with_losses = st.lists(losses, min_size=1, max_size=24)


@st.composite
def rows(draw: st.DrawFn, change: st.SearchStrategy[float] = losses) -> Row:
    steps = draw(st.lists(change, min_size=1, max_size=24))
    inner = [place for place in range(1, len(steps)) if draw(st.booleans())]
    return Row(steps, frozenset(inner if draw(st.booleans()) else ()))


# ── properties ───────────────────────────────────────────────────────────────────────────────────


@given(rows())
def test_all_losses_are_found_and_none_is_invented(row: Row) -> None:
    found = row.search()
    assert places(found) == row.expected()
    assert found.steps == found.culprits
    assert found.unexplained == ()


@given(rows())
def test_no_search_takes_more_than_the_bill(row: Row) -> None:
    row.search()
    failed = [pair for pair in row.asked if row.untestable & set(pair)]
    assert len(failed) <= len(row.untestable)
    assert len(row.asked) - len(failed) <= bill(row.count).most


@given(st.integers(2, 200), st.data())
def test_one_step_takes_about_two_comparisons_for_each_halving(count: int, data: st.DataObject) -> None:
    steps = [0.0] * (count - 1)
    steps[data.draw(st.integers(0, count - 2))] = 0.2
    row = Row(steps)
    assert places(row.search()) == row.expected()
    assert len(row.asked) <= bill(count).usual


@given(rows(st.one_of(st.just(0.0), st.floats(0.06, 1.0), st.floats(-1.0, -0.06))))
def test_with_gains_nothing_is_invented_and_the_losses_account_for_that_between_the_ends(row: Row) -> None:
    found = row.search()
    assert set(places(found)) <= set(row.expected())
    told = sum(row.true(*pair) for pair in places(found))
    # Each half that is left alone hides no more than its own ends differ by.
    assert abs(told - row.true(0, row.count - 1)) <= NEGLIGIBLE * row.count


@given(rows(st.one_of(st.just(0.0), st.floats(0.06, 1.0), st.floats(-1.0, -0.06))))
def test_neighbours_find_every_step_whatever_hides_it(row: Row) -> None:
    found = compare_neighbours(row.count, row.compare)
    assert places(found) == row.expected()
    assert set(found.untestable) == row.untestable
    assert len(row.asked) <= bill(row.count, neighbours=True).most


noises = st.floats(-1.0, 1.0)


@given(
    rows(st.one_of(st.just(0.0), st.floats(-1.0, 1.0))),
    st.floats(0.0, 0.2),
    st.dictionaries(st.tuples(st.integers(0, 24), st.integers(0, 24)), noises),
)
def test_noise_invents_no_step_as_long_as_intervals_hold_the_truth(
    row: Row, width: float, shifts: dict[tuple[int, int], float]
) -> None:
    row.width = width
    row.noise = {pair: shift * width for pair, shift in shifts.items()}
    for step in row.search().steps:
        true = row.true(step.first, step.last)
        assert true > 0 if step.answer.relation is Relation.WORSE else true < 0


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(0.06, 1.0)), min_size=1, max_size=24),
    st.dictionaries(st.tuples(st.integers(0, 24), st.integers(0, 24)), noises),
)
def test_noise_that_is_small_beside_a_loss_hides_none(
    steps: list[float], shifts: dict[tuple[int, int], float]
) -> None:
    width = 0.02
    row = Row(steps, width=width, noise={pair: shift * width for pair, shift in shifts.items()})
    assert set(row.expected()) <= set(places(row.search()))


# ── one by one ───────────────────────────────────────────────────────────────────────────────────


def test_the_ends_come_first() -> None:
    row = Row([0.0, 0.0, 0.1, 0.0])
    row.search()
    assert row.asked[0] == (0, 4)


def test_two_builds_take_one_comparison() -> None:
    row = Row([0.1])
    assert places(row.search()) == [(0, 1)]
    assert row.asked == [(0, 1)]


def test_alike_ends_are_split_once() -> None:
    row = Row([0.0] * 8)
    found = row.search()
    assert found.ends.relation is Relation.SAME
    assert (found.steps, len(row.asked)) == ((), 3)
    assert [(each.first, each.last) for each in found.unsearched] == [(0, 4), (4, 8)]


def test_neighbours_hide_nothing() -> None:
    assert Row([0.2, 0.0]).search().unsearched == ()


def test_a_loss_behind_a_gain_of_the_same_size_is_found_where_the_middle_tells_them_apart() -> None:
    found = Row([-0.2, 0.0, 0.0, 0.2]).search()
    assert found.ends.relation is Relation.SAME
    assert places(found) == [(0, 1), (3, 4)]
    assert [(each.first, each.last) for each in found.culprits] == [(3, 4)]


def test_a_good_end_that_is_bad_is_a_step_for_the_better() -> None:
    found = Row([-0.2, 0.0, 0.0, 0.0]).search()
    assert found.ends.relation is Relation.BETTER
    assert places(found) == [(0, 1)]
    assert found.culprits == ()


def test_an_end_that_cannot_be_tested_ends_the_search() -> None:
    row = Row([0.0, 0.2, 0.0], untestable=frozenset({3}))
    found = row.search()
    assert found == SearchResult(PairResult(Relation.UNTESTABLE))
    assert row.asked == [(0, 3)]


def test_a_step_beside_builds_that_cannot_be_tested_is_a_range() -> None:
    found = Row([0.0, 0.0, 0.2, 0.0, 0.0], untestable=frozenset({2, 3})).search()
    assert places(found) == [(1, 4)]
    assert set(found.untestable) == {2, 3}


def test_only_builds_inside_a_stretch_that_is_split_are_tried() -> None:
    row = Row([0.2, 0.0, 0.0, 0.0, 0.0, 0.0], untestable=frozenset({5}))
    assert row.search().untestable == ()


def test_losses_too_small_to_be_called_one_by_one_are_told_as_a_rest() -> None:
    small = 0.4 * NEGLIGIBLE
    found = Row([small] * 4).search()
    assert found.ends.relation is Relation.WORSE
    assert found.steps == ()
    assert [(each.first, each.last) for each in found.unexplained] == [(0, 4)]


def stubborn(row: Row, *missed: tuple[int, int]) -> Compare:
    """Compares, and calls some pairs alike whatever they are."""

    def compare(first: int, last: int) -> PairResult:
        found = row.compare(first, last)
        return PairResult(Relation.SAME, 0.0, -0.01, 0.04) if (first, last) in missed else found

    return compare


def test_a_step_that_one_comparison_missed_is_found_by_the_next() -> None:
    row = Row([0.0, 0.2, 0.0, 0.0])
    found = search(row.count, stubborn(row, (0, 2)), NEGLIGIBLE)
    assert places(found) == [(1, 2)]
    assert found.unexplained == ()


def test_a_missed_step_beside_one_that_was_found_leaves_a_rest_to_explain() -> None:
    row = Row([0.0, 0.2, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0])
    found = search(row.count, stubborn(row, (0, 4)), NEGLIGIBLE)
    assert places(found) == [(1, 2), (4, 5)]


@pytest.mark.parametrize(("count", "usual", "most"), [(2, 1, 1), (3, 3, 3), (5, 5, 7), (21, 11, 39)])
def test_the_bill(count: int, usual: int, most: int) -> None:
    assert bill(count) == (usual, most)
