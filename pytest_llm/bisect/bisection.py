"""A whole bisect: both ends, the metric to bisect, the steps, and its progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.bisect import interpret, report
from pytest_llm.bisect.search import PairResult, Relation, SearchResult, compare_neighbours, search
from pytest_llm.checks.format import counted
from pytest_llm.stats.sequential import TAU, negligible_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.bisect.cache import Unfit
    from pytest_llm.bisect.comparisons import PairComparison, Pairs
    from pytest_llm.bisect.pytest_runner import Planned
    from pytest_llm.bisect.search import Bill
    from pytest_llm.records import Build

# Outputs are the same or not.
_HALF = 0.5


@dataclass(frozen=True)
class Bisected:
    """The result of a bisect."""

    planned: Planned
    builds: Sequence[str]  # in order, as the user wrote them
    target: str  # a metric's name, or "output"; "" if an end cannot be tested
    search: SearchResult
    compared: Sequence[PairComparison]  # in order of time
    described: Mapping[int, Build]  # by place, if they start
    unfit: Mapping[int, Unfit]  # by place, if they cannot be tested
    comparisons: int  # that share the error rate

    def between(self, first: int, last: int) -> PairComparison:
        return next(each for each in self.compared if (each.first, each.last) == (first, last))


def bisect(
    pairs: Pairs,
    planned: Planned,
    comparisons: int,
    *,
    target: str = "",
    neighbours: bool = False,
    watch: Callable[[int, int, str, PairComparison | None], None] = lambda *_: None,
) -> Bisected:
    """Compare builds until every step is found; a target not given is chosen by what the ends show.

    Args:
        neighbours: Compare each build with the one before it instead of splitting.
        watch: Receives each comparison: both places, the target, and the result.
    """
    last = len(pairs.builds) - 1
    ends = pairs.compare(0, last)
    if ends is not None and not target:
        target = interpret.choose(ends.results, planned)

    def compare(first: int, second: int) -> PairResult:
        found = pairs.compare(first, second)
        watch(first, second, target, found)
        return PairResult(Relation.UNTESTABLE) if found is None else interpret.answer(found.results, target)

    if neighbours:
        found = compare_neighbours(last + 1, compare)
    else:
        found = search(last + 1, compare, _negligible(planned, target))
    return Bisected(
        planned, pairs.builds, target, found, pairs.compared, pairs.described, pairs.unfit, comparisons
    )


def _negligible(planned: Planned, target: str) -> float:
    gates = [gate for gate in planned.gates if gate.metric.name == target]
    return negligible_of(gates[0], TAU) if gates else _HALF


class BisectProgress:
    """Writes one line about the number of comparisons and their time, and one for each comparison."""

    def __init__(self, write: Callable[[str], None], pairs: Pairs, planned: Planned, cost: Bill) -> None:
        self._write = write
        self._pairs = pairs
        self._planned = planned
        self._cost = cost
        self._seen: set[tuple[int, int]] = set()
        self._named: set[int] = set()
        each = planned.seconds
        write(
            f"{len(pairs.builds)} builds, {planned.nodeid}: at most {counted(cost.usual, 'comparison')} for "
            f"one culprit ({_duration(cost.usual * each)}), {cost.most} in all cases "
            f"({_duration(cost.most * each)}); up to {counted(planned.sessions, 'session')} each"
        )

    def compared(self, first: int, last: int, target: str, found: PairComparison | None) -> None:
        for place in (first, last):
            if place in self._pairs.unfit and place not in self._named:
                self._named.add(place)
                self._write(f"{self._pairs.builds[place]} {self._pairs.unfit[place]}")
        if found is None or (first, last) in self._seen:
            return
        self._seen.add((first, last))
        took = "stored before" if found.seconds is None else _duration(found.seconds)
        relation = interpret.answer(found.results, target).relation.value
        self._write(
            f"{len(self._seen)}: {self._pairs.builds[first]} → {self._pairs.builds[last]}: {relation}, "
            f"{report.change(found, target)}; {took}; {self._left()}"
        )

    def _left(self) -> str:
        spent = [each.seconds for each in self._pairs.compared if each.seconds is not None]
        each = sum(spent) / len(spent) if spent else self._planned.seconds
        left = self._cost.usual - len(self._seen)
        if left > 0:
            return f"up to {left} left for one culprit, {_duration(left * each)}"
        left = self._cost.most - len(self._seen)
        return f"up to {left} left, {_duration(left * each)}" if left > 0 else "none left"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
