"""Which operations take longer in one build than in another: an explanation, which decides nothing.

The unit is the repetition: one process of each build, one after the other, in an order that a coin decides.
The cases of a run share one error rate (Bonferroni), so that the chance that two equal builds have any
operation named is at most ``ALPHA``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pytest_llm.stats import signed_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import OperatorCase, OperatorRun, OperatorTimes

ALPHA = 0.05


@dataclass(frozen=True)
class OperatorChange:
    """How long an operation takes in the candidate, by the reference.

    Attributes:
        case: Which one.
        change: The ratio of times less 1 (Hodges and Lehmann): positive is slower.
        interval: Of the change, at 1 - ALPHA over all cases of the run; None with too few repetitions.
        share: The part of the operators' time that it takes in the candidate; None where the shapes are not
            the model's.
    """

    case: OperatorCase
    change: float
    interval: tuple[float, float] | None
    share: float | None

    @property
    def differs(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def repetitions(cases: int) -> int:
    """Return the fewest repetitions with which one of so many cases can be told to differ."""
    return math.ceil(math.log2(2 * cases / ALPHA))


def affordable(costs: Sequence[float], seconds: float) -> int:
    """Return how many cases, from the first on, can be repeated often enough in that time; at least one.

    Args:
        costs: The seconds that one repetition of each case takes, both builds together; at least one.
        seconds: That there are.
    """
    fitting = (
        number for number in range(len(costs), 1, -1) if repetitions(number) * sum(costs[:number]) <= seconds
    )
    return next(fitting, 1)


def changes(run: OperatorRun) -> tuple[OperatorChange, ...]:
    """Return how each case that was repeated differs, in the run's order."""
    repeated = [times for times in run.times if times.candidate]
    total = sum(_cost(times) for times in run.times)
    return tuple(_change(times, len(repeated), total) for times in repeated)


def _change(times: OperatorTimes, family: int, total: float) -> OperatorChange:
    pairs = zip(times.candidate, times.reference, strict=True)
    ratios = [math.log(candidate / reference) for candidate, reference in pairs]
    interval = signed_rank.interval(ratios, 1 - ALPHA / family)
    return OperatorChange(
        times.case,
        math.expm1(signed_rank.hodges_lehmann(ratios)),
        None if interval is None else (math.expm1(interval[0]), math.expm1(interval[1])),
        _cost(times) / total if times.case.nodes else None,
    )


def _cost(times: OperatorTimes) -> float:
    """Return the seconds that a step of the model spends in a case, in the candidate."""
    return times.case.nodes * (median(times.candidate) if times.candidate else times.first[0])
