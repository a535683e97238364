"""Tells how far a bisect is: a line for each comparison, on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from pytest_llm.bisect import interpret, report
from pytest_llm.checks.format import counted

if TYPE_CHECKING:
    from pytest_llm.bisect.comparisons import Compared, Pairs
    from pytest_llm.bisect.request import Planned
    from pytest_llm.bisect.search import Bill


class Progress:
    """A line for each comparison, and for each build that cannot be tested."""

    def __init__(self, stream: TextIO, pairs: Pairs, planned: Planned, cost: Bill) -> None:
        """Begin.

        Args:
            stream: Where to.
            pairs: What is compared.
            planned: The test.
            cost: How many comparisons there may be.
        """
        self._stream = stream
        self._pairs = pairs
        self._planned = planned
        self._cost = cost
        self._seen: set[tuple[int, int]] = set()
        self._told: set[int] = set()

    def begin(self) -> None:
        """Say what there is to do, and how long it may take."""
        builds, usual, most = len(self._pairs.builds), self._cost.usual, self._cost.most
        each = self._planned.seconds
        self._write(
            f"{builds} builds, {self._planned.nodeid}: at most {counted(usual, 'comparison')} if one build "
            f"is guilty ({_duration(usual * each)}), {most} whatever there is ({_duration(most * each)}); "
            f"up to {counted(self._planned.sessions, 'session')} each"
        )

    def compared(self, first: int, last: int, target: str, found: Compared | None) -> None:
        """Say what came of a comparison, and what is left."""
        for place in (first, last):
            if place in self._pairs.unfit and place not in self._told:
                self._told.add(place)
                self._write(f"{self._pairs.builds[place]} {self._pairs.unfit[place]}")
        if found is None or (first, last) in self._seen:
            return
        self._seen.add((first, last))
        took = "kept from before" if found.seconds is None else _duration(found.seconds)
        relation = interpret.answer(found.results, target).relation.value
        self._write(
            f"{len(self._seen)}: {self._pairs.builds[first]} → {self._pairs.builds[last]}: {relation}, "
            f"{report.change(found, target)}; {took}; {self._left()}"
        )

    def interrupted(self) -> None:
        """Say that nothing is lost."""
        self._write("interrupted: what was compared is kept; the same command goes on from there")

    def _left(self) -> str:
        spent = [each.seconds for each in self._pairs.compared if each.seconds is not None]
        each = sum(spent) / len(spent) if spent else self._planned.seconds
        left = self._cost.usual - len(self._seen)
        if left > 0:
            return f"up to {left} left if one build is guilty, {_duration(left * each)}"
        left = self._cost.most - len(self._seen)
        return f"up to {left} left, {_duration(left * each)}" if left > 0 else "none left"

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
