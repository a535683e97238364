"""Search for every step in a range of builds at which something changed, by comparing pairs of them.

Sizes are log ratios, so they add: the change between two builds is the sum of the changes up to a build in
the middle and from it on.

1. The two ends are compared first.
2. A stretch is split at its middle build, and both halves are compared. Halves whose ends *differ*, for worse
   or for better, are split in turn, until the two builds of one are neighbours: that is a step.
3. A half whose ends do not differ is not split, unless the halves that do leave part of the whole
   *unexplained*: the lower end of the whole, less their upper ends, is more than negligible. So a step that
   one comparison missed is found by the next, and losses too small to be called one by one are reported as
   unexplained.
4. The whole range is split at least once, whatever its ends say: the user expects a step in it.

A build that cannot be tested is replaced by the nearest one that can. A loss and a gain of equal size within
a half that is not split remain hidden: ``compare_neighbours`` finds those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Relation(str, Enum):
    """The later one of two builds, compared with the earlier one."""

    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"
    UNTESTABLE = "cannot be tested"


@dataclass(frozen=True)
class PairResult:
    """The estimate of a change and its interval, as log ratios: positive is worse."""

    relation: Relation
    size: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    @property
    def differs(self) -> bool:
        return self.relation in (Relation.WORSE, Relation.BETTER)


if TYPE_CHECKING:
    # Compares the build at the first place with the later one at the second.
    Compare = Callable[[int, int], PairResult]


@dataclass(frozen=True)
class Stretch:
    """From the build at one place to a later one."""

    first: int
    last: int
    answer: PairResult


@dataclass(frozen=True)
class SearchResult:
    """The result of a search, in the order of the builds."""

    ends: PairResult  # the last build compared with the first
    steps: tuple[Stretch, ...] = ()  # neighbours, or with untestable builds between
    unexplained: tuple[Stretch, ...] = ()  # hold a change that their steps do not explain
    unsearched: tuple[Stretch, ...] = ()  # not split, as their ends do not differ
    untestable: tuple[int, ...] = ()  # places of those that were tried

    @property
    def culprits(self) -> tuple[Stretch, ...]:
        return tuple(each for each in self.steps if each.answer.relation is Relation.WORSE)


class Bill(NamedTuple):
    """How many comparisons a search makes at most, besides one try for each build that cannot be tested."""

    usual: int  # if one step is to blame and every build can be tested
    most: int


def bill(count: int, *, neighbours: bool = False) -> Bill:
    """Return the bill of at least 2 builds: a split adds two, and n builds are split n - 2 times at most."""
    if neighbours:
        return Bill(*[1 if count == 2 else count] * 2)
    return Bill(1 + 2 * math.ceil(math.log2(count - 1)) if count > 2 else 1, max(1, 2 * count - 3))


def search(count: int, compare: Compare, negligible: float) -> SearchResult:
    """Find the steps in a range of at least 2 builds; see the module's docstring.

    Args:
        compare: Called at most once for each pair; returns ``UNTESTABLE`` if one of them cannot be tested.
        negligible: A change too small to matter, as a log ratio above 0.
    """
    ends = compare(0, count - 1)
    if ends.relation is Relation.UNTESTABLE:
        return SearchResult(ends)
    splitting = _Splitting(compare, negligible)
    splitting.explore(Stretch(0, count - 1, ends))
    return SearchResult(
        ends,
        _in_order(splitting.steps),
        _in_order(splitting.unexplained),
        _in_order(splitting.unsearched),
        tuple(sorted(splitting.untestable)),
    )


def compare_neighbours(count: int, compare: Compare) -> SearchResult:
    """Find the steps by comparing every build with the one before it that can be tested, after the ends."""
    ends = compare(0, count - 1)
    if ends.relation is Relation.UNTESTABLE:
        return SearchResult(ends)
    steps, untestable, before = [], [], 0
    for place in range(1, count):
        answer = ends if (before, place) == (0, count - 1) else compare(before, place)
        if answer.relation is Relation.UNTESTABLE:
            untestable.append(place)
            continue
        if answer.differs:
            steps.append(Stretch(before, place, answer))
        before = place
    return SearchResult(ends, tuple(steps), untestable=tuple(untestable))


@dataclass
class _Splitting:
    compare: Compare
    negligible: float
    steps: list[Stretch] = field(default_factory=list)
    unexplained: list[Stretch] = field(default_factory=list)
    unsearched: list[Stretch] = field(default_factory=list)
    untestable: set[int] = field(default_factory=set)

    def explore(self, whole: Stretch) -> bool:
        """Note what is in a stretch; return whether there is a step."""
        halves = self._halves(whole)
        if not halves:
            if whole.answer.differs:
                self.steps.append(whole)
            return whole.answer.differs
        apart = [each for each in halves if each.answer.differs]
        alike = [each for each in halves if not each.answer.differs]
        found = [self.explore(each) for each in apart]
        if alike and self._unexplained(whole.answer, [each.answer for each in apart]):
            more = [self.explore(each) for each in alike]
            if not any(more):
                self._note_unexplained(whole)
            found += more
        else:
            self.unsearched += [each for each in alike if self._untried(each)]
        return any(found)

    def _halves(self, whole: Stretch) -> list[Stretch]:
        middle = (whole.first + whole.last) / 2
        for place in sorted(self._untried(whole), key=lambda each: abs(each - middle)):
            before = self.compare(whole.first, place)
            after = before if before.relation is Relation.UNTESTABLE else self.compare(place, whole.last)
            if after.relation is not Relation.UNTESTABLE:
                return [Stretch(whole.first, place, before), Stretch(place, whole.last, after)]
            self.untestable.add(place)
        return []

    def _untried(self, whole: Stretch) -> list[int]:
        return [each for each in range(whole.first + 1, whole.last) if each not in self.untestable]

    def _unexplained(self, whole: PairResult, parts: Sequence[PairResult]) -> bool:
        if whole.relation is Relation.WORSE:
            return whole.low - sum(each.high for each in parts) > self.negligible
        if whole.relation is Relation.BETTER:
            return -whole.high + sum(each.low for each in parts) > self.negligible
        return False

    def _note_unexplained(self, whole: Stretch) -> None:
        inside = [each for each in self.unexplained if whole.first <= each.first and each.last <= whole.last]
        self.unexplained = [each for each in self.unexplained if each not in inside] + [whole]


def _in_order(stretches: Sequence[Stretch]) -> tuple[Stretch, ...]:
    return tuple(sorted(stretches, key=lambda each: each.first))
