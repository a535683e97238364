"""A whole bisect: both ends, what to follow, the steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.bisect import interpret
from pytest_llm.bisect.search import Answer, Relation, SearchResult, compare_neighbours, search
from pytest_llm.stats.sequential import NEGLIGIBLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.bisect.cache import Unfit
    from pytest_llm.bisect.comparisons import Compared, Pairs
    from pytest_llm.bisect.pytest_runner import Planned
    from pytest_llm.records import Build

# Of outputs, which are the same or not.
_HALF = 0.5


@dataclass(frozen=True)
class Bisected:
    """What a bisect came to.

    Attributes:
        planned: The test.
        builds: In order, as the user wrote them.
        target: What was followed: a metric's name, or "output"; "" if an end cannot be tested.
        search: The steps.
        compared: Every comparison, in the order in which they were made.
        described: How the builds that start describe themselves, by place.
        unfit: Why others cannot be tested, by place.
        comparisons: How many share the error rate.
    """

    planned: Planned
    builds: Sequence[str]
    target: str
    search: SearchResult
    compared: Sequence[Compared]
    described: Mapping[int, Build]
    unfit: Mapping[int, Unfit]
    comparisons: int

    def between(self, first: int, last: int) -> Compared:
        """Return the comparison of two builds."""
        return next(each for each in self.compared if (each.first, each.last) == (first, last))


def bisect(
    pairs: Pairs,
    planned: Planned,
    comparisons: int,
    *,
    target: str = "",
    neighbours: bool = False,
    watch: Callable[[int, int, str, Compared | None], None] = lambda *_: None,
) -> Bisected:
    """Compare builds until every step is found.

    Args:
        pairs: The builds.
        planned: The test.
        comparisons: How many share the error rate.
        target: What to follow; what the ends show, if not given.
        neighbours: Compare each build with the one before it, instead of splitting.
        watch: Told of each comparison: both places, what is followed, and what came of it.
    """
    last = len(pairs.builds) - 1
    ends = pairs.compare(0, last)
    if ends is not None and not target:
        target = interpret.choose(ends.results, planned)

    def compare(first: int, second: int) -> Answer:
        found = pairs.compare(first, second)
        watch(first, second, target, found)
        return Answer(Relation.UNTESTABLE) if found is None else interpret.answer(found.results, target)

    if neighbours:
        found = compare_neighbours(last + 1, compare)
    else:
        found = search(last + 1, compare, _negligible(planned, target))
    return Bisected(
        planned,
        pairs.builds,
        target,
        found,
        list(pairs.compared),
        dict(pairs.described),
        dict(pairs.unfit),
        comparisons,
    )


def _negligible(planned: Planned, target: str) -> float:
    tolerances = [gate.tolerance for gate in planned.gates if gate.metric.name == target]
    return math.log1p(tolerances[0]) * NEGLIGIBLE if tolerances else _HALF
