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
        self._first: dict[str, list[int]] = defaultdict(list)
        self._struck: dict[str, dict[str, tuple[list[int], list[int]]]] = defaultdict(dict)

    def begin_turn(self, kind: str, places: Sequence[int]) -> None:
        """Note the order of a turn."""
        self._first[kind].append(places[0])

    def add(self, kind: str, place: int, taken: object, reasons: Sequence[str]) -> None:
        """Note what a subject took in the turn, and what disturbed it from outside.

        Of a slice that is tokens and seconds; of requests, those that were sent at once.
        """
        self._taken[place][kind].append(taken)
        for reason in reasons:
            sides = self._struck[kind].setdefault(reason, ([], []))
            sides[place].append(len(self._first[kind]) - 1)

    def series(self, workload: Workload) -> list[dict[str, Series]]:
        """Return the series of each subject."""
        return [self._series(taken, workload) for taken in self._taken]

    def turns(self) -> dict[str, Turns]:
        """Return the turns of each kind; nothing of a subject alone."""
        if len(self._taken) == 1:
            return {}
        return {
            kind: Turns(
                "".join(map(str, first)),
                {
                    reason: Struck(tuple(ours), tuple(theirs))
                    for reason, (ours, theirs) in self._struck[kind].items()
                },
            )
            for kind, first in self._first.items()
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
