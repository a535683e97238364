"""Changes of operators between two builds, for the operator profile.

The unit is the repetition: one process of each build, one after the other, in random order. The cases of a
run share one error rate (Bonferroni): two equal builds have any operator named with a probability of at most
``ALPHA``.
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
    """The change of an operator's time from reference to candidate.

    Attributes:
        change: The ratio of times - 1 (Hodges and Lehmann): positive is slower.
        interval: Of the change, at 1 - ALPHA over all cases of the run; None with too few repetitions.
        share: Of the candidate's time in all operators; None if the shapes are not the model's.
    """

    case: OperatorCase
    change: float
    interval: tuple[float, float] | None
    share: float | None

    @property
    def differs(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def least_repetitions(cases: int) -> int:
    """Return the fewest repetitions with which one of several cases can differ significantly."""
    return math.ceil(math.log2(2 * cases / ALPHA))


def affordable_cases(costs: Sequence[float], seconds: float) -> int:
    """Return how many of the first cases can be repeated often enough; a cost is that of both builds."""
    fitting = (
        number
        for number in range(len(costs), 1, -1)
        if least_repetitions(number) * sum(costs[:number]) <= seconds
    )
    return next(fitting, 1)


def operator_changes(run: OperatorRun) -> tuple[OperatorChange, ...]:
    """Return the change of each repeated case, in the run's order."""
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
    """Return the seconds per step of the model, in the candidate."""
    return times.case.nodes * (median(times.candidate) if times.candidate else times.first[0])
