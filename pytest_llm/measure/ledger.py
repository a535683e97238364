"""Ledger of a session: the slices and requests of each subject, turn by turn."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pytest_llm.records import Series, Struck, Turns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import Workload

_REQUEST = "request"


class Ledger:
    """Slices and requests of one workload, by subject."""

    def __init__(self, subjects: int) -> None:
        """Begin with nothing."""
        self._taken: list[dict[str, list[Any]]] = [defaultdict(list) for _ in range(subjects)]
        self._orders: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        self._struck: dict[str, dict[str, list[list[int]]]] = defaultdict(dict)

    def begin_turn(self, kind: str, places: Sequence[int]) -> None:
        """Note the order of a turn."""
        self._orders[kind].append(tuple(places))

    def add(self, kind: str, place: int, taken: object, reasons: Sequence[str]) -> None:
        """Note what a subject took in the turn, and what disturbed it from outside.

        Of a slice that is tokens and seconds; of requests, those that were sent at once.
        """
        self._taken[place][kind].append(taken)
        for reason in reasons:
            sides = self._struck[kind].setdefault(reason, [[] for _ in self._taken])
            sides[place].append(len(self._orders[kind]) - 1)

    def series(self, workload: Workload) -> list[dict[str, Series]]:
        """Return the series of each subject."""
        return [self._series(taken, workload) for taken in self._taken]

    def turns(self) -> list[dict[str, Turns]]:
        """Return the turns of each kind that each subject but the last took with the last one."""
        *candidates, reference = range(len(self._taken))
        return [self._between(each, reference) for each in candidates]

    def _between(self, ours: int, theirs: int) -> dict[str, Turns]:
        return {
            kind: Turns(
                "".join("01"[order.index(theirs) < order.index(ours)] for order in orders),
                {
                    reason: Struck(tuple(sides[ours]), tuple(sides[theirs]))
                    for reason, sides in self._struck[kind].items()
                    if sides[ours] or sides[theirs]
                },
            )
            for kind, orders in self._orders.items()
        }

    @staticmethod
    def _series(taken: Mapping[str, Sequence[Any]], workload: Workload) -> dict[str, Series]:
        found = {
            kind: Series.of_work([seconds for _, seconds in slices], [tokens for tokens, _ in slices])
            for kind, slices in taken.items()
            if kind != _REQUEST
        }
        requests = taken.get(_REQUEST, ())
        if requests:
            tokens = workload.parallel * (workload.prompt_tokens + workload.generate_tokens)
            seconds = [max(first + math.fsum(gaps) for first, gaps in together) for together in requests]
            each = [one for together in requests for one in together]
            found[_REQUEST] = Series(tuple(seconds), tokens)
            found["first_token"] = Series(tuple(first for first, _ in each))
            found["inter_token"] = Series(tuple(gap for _, gaps in each for gap in gaps))
        return found
