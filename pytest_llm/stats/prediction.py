"""Prediction interval of a new run from stored runs: a screen for large losses.

The unit is the run. Sessions of one run share the state of the machine; pooling them as if they were
independent raises a nominal 1 % of false alarms to over 20 %.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.records import Verdict
from pytest_llm.stats.student_t import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records.metrics import Metric

ALPHA = 0.01  # false "regressed", and false "improved", of a whole run of pytest
BETA = 0.05  # false "pass" of each metric
LEAST_RUNS = 5


@dataclass(frozen=True)
class Screening:
    """The comparison of a new run with stored runs.

    Attributes:
        change: Of the metric, new / stored - 1: a lower rate is negative.
        interval: Of the change, at 1 - alpha, from the spread of the stored runs; None with fewer than
            ``LEAST_RUNS``, whose spread is a guess.
        value: The geometric mean of the stored runs, in the metric's unit.
        reason: Why the verdict is inconclusive although no interval decided it; "" otherwise.
    """

    verdict: Verdict
    change: float
    interval: tuple[float, float] | None
    value: float
    reason: str = ""


def screen(
    metric: Metric,
    stored: Sequence[float],
    value: float,
    tolerance: float,
    family: int = 1,
    alpha: float = ALPHA,
    beta: float = BETA,
) -> Screening:
    """Compare a new run with the prediction interval of stored runs; all values are above 0.

    The logarithms of the stored times (of reciprocal rates) are taken as a normal sample of size S. The
    standard error of predicting one more run is sd * sqrt(1 + 1/S), with Student's t of S - 1 degrees of
    freedom (Hahn and Meeker, "Statistical intervals", 1991, section 4.7). A fifth of the tolerance, in
    logarithms, is negligible. ``family`` metrics share ``alpha``.
    """
    sign = -1.0 if metric.better == "higher" else 1.0
    times = [sign * math.log(each) for each in stored]
    count = len(times)
    centre = statistics.fmean(times)
    mean = math.exp(sign * centre)
    worse = sign * math.log(value) - centre
    change = math.expm1(sign * worse)
    if count < LEAST_RUNS:
        return Screening(Verdict.INCONCLUSIVE, change, None, mean, f"{count} of {LEAST_RUNS} runs")
    degrees = count - 1
    error = statistics.stdev(times) * math.sqrt(1 + 1 / count)
    reach = quantile(degrees, 1 - alpha / 2) * error
    edges = sorted(math.expm1(sign * (worse + side)) for side in (-reach, reach))
    interval = (edges[0], edges[1])
    verdict = _decide(worse, error, degrees, math.log1p(tolerance), alpha / family, beta)
    return Screening(verdict, change, interval, mean)


def centre_and_spread(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the geometric mean and the standard deviation of the logarithms.

    Both are None if a value is not above 0; the standard deviation is None for a single value.
    """
    if min(values) <= 0:
        return None, None
    logs = [math.log(each) for each in values]
    return math.exp(statistics.fmean(logs)), statistics.stdev(logs) if len(logs) > 1 else None


def _decide(worse: float, error: float, degrees: int, margin: float, alpha: float, beta: float) -> Verdict:
    # Multiplied by the error instead of divided, so that stored runs may be equal.
    threshold = quantile(degrees, 1 - alpha) * error
    negligible = margin / 5
    if worse - negligible > threshold:
        return Verdict.REGRESSED
    if -worse - negligible > threshold:
        return Verdict.IMPROVED
    if worse + quantile(degrees, 1 - beta) * error < margin:
        return Verdict.PASS
    return Verdict.INCONCLUSIVE
