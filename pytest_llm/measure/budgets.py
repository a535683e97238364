"""Budgets: how much a session measures of each of its workloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.records.protocols import Clock


@dataclass(frozen=True)
class Budget:
    """How often a session does a thing: at least, at most, and for about how many seconds.

    Several workloads share the seconds, but each gets ``shared_seconds`` at least.
    """

    least: int
    most: int
    seconds: float
    shared_seconds: float = 0.0

    def shared_by(self, workloads: int) -> Budget:
        """Return the budget of one workload if a session has so many of them."""
        seconds = max(self.seconds / workloads, self.shared_seconds)
        return Budget(max(1, self.least // workloads), self.most, seconds, self.shared_seconds)


@dataclass(frozen=True)
class Budgets:
    """How much a session measures of each workload."""

    rounds: Budget
    texts: Budget

    def shared_by(self, workloads: int) -> Budgets:
        """Return the budgets of one workload if a session has so many of them."""
        return Budgets(self.rounds.shared_by(workloads), self.texts.shared_by(workloads))


SOLO = Budgets(Budget(3, 30, 4.0), Budget(5, 60, 2.0))
# Many short rounds beat few long ones. Each workload of a session also costs two rehearsals and a warm-up:
# with less than this beside them, a verdict takes more sessions and more time.
_SHARED = 1.5
PAIR = Budgets(Budget(3, 30, 6.0, _SHARED), Budget(5, 30, 5.0, _SHARED))


def within(budget: Budget, clock: Clock) -> Iterator[int]:
    """Count from 0 for as long as a budget lasts."""
    started = clock()
    for done in range(budget.most):
        if done >= budget.least and clock() - started >= budget.seconds:
            return
        yield done
