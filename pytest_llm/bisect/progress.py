"""Progress of a bisect: a line for each comparison, and for each build that cannot be tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.bisect import interpret, report
from pytest_llm.checks.format import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.bisect.comparisons import Compared, Pairs
    from pytest_llm.bisect.pytest_runner import Planned
    from pytest_llm.bisect.search import Bill


class Progress:
    """Writes lines; begins with how much there is to do, and how long that may take."""

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

    def compared(self, first: int, last: int, target: str, found: Compared | None) -> None:
        """Write the result of a comparison, and what is left."""
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
