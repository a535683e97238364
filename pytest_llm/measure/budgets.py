"""Budgets: how much a session measures of each of its workloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.records.protocols import Clock


@dataclass(frozen=True)
class Budget:
    """How often a session does a thing: at least, at most, and for about how many seconds."""

    least: int
    most: int
    seconds: float

    def shared_by(self, workloads: int) -> Budget:
        """Return the budget of one workload if a session has so many of them."""
        return Budget(max(1, self.least // workloads), self.most, self.seconds / workloads)


@dataclass(frozen=True)
class Budgets:
    """How much a session measures of each workload."""

    rounds: Budget
    texts: Budget

    def shared_by(self, workloads: int) -> Budgets:
        """Return the budgets of one workload if a session has so many of them."""
        return Budgets(self.rounds.shared_by(workloads), self.texts.shared_by(workloads))


SOLO = Budgets(Budget(3, 30, 4.0), Budget(5, 60, 2.0))
# Many short rounds beat few long ones.
PAIR = Budgets(Budget(3, 30, 6.0), Budget(5, 30, 5.0))


def within(budget: Budget, clock: Clock) -> Iterator[int]:
    """Count from 0 for as long as a budget lasts."""
    started = clock()
    for done in range(budget.most):
        if done >= budget.least and clock() - started >= budget.seconds:
            return
        yield done
