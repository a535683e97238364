"""Prediction interval of a new run from stored runs, of absolute values or of ratios to an anchor.

The unit is the run. Sessions of one run share the state of the machine; pooling them as if they were
independent raises a nominal 1 % of false alarms to over 20 %.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.records import Verdict
from pytest_llm.stats.estimates import change_of, interval_of
from pytest_llm.stats.student_t import quantile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_llm.records.metric import Metric

ALPHA = 0.01  # false "regressed", and false "improved", of a whole run of pytest
BETA = 0.05  # false "pass" of each metric
LEAST_RUNS = 5
_LAST, _LASTING_ALPHA = 5, 0.001


@dataclass(frozen=True)
class Spread:
    """The spread of runs.

    Attributes:
        sd: Standard deviation of the log times, or log ratios.
        degrees: Its degrees of freedom.
    """

    sd: float
    degrees: int


@dataclass(frozen=True)
class Prediction:
    """A new run against stored ones, in logarithms of times: positive is worse.

    Attributes:
        verdict: The answer.
        worse: The new run less the mean of the stored ones.
        reach: Half the width of its interval at 1 - ``ALPHA``; None if the spread is not known.
        calls_from: The loss from which on it is called; None if the spread is not known.
    """

    verdict: Verdict
    worse: float
    reach: float | None = None
    calls_from: float | None = None


@dataclass(frozen=True)
class Screening:
    """The comparison of a new run with stored runs.

    Attributes:
        change: Of the metric, new / stored - 1: a lower rate is negative.
        interval: Of the change, at 1 - alpha, from the spread of the stored runs; None with fewer than
            ``LEAST_RUNS``, whose spread is a guess.
        value: The geometric mean of the stored runs, in the metric's unit.
        reason: Why the verdict is inconclusive although no interval decided it; "" otherwise.
        calls_from: The loss from which on it is called, as a ratio of times less 1; None without an interval.
    """

    verdict: Verdict
    change: float
    interval: tuple[float, float] | None
    value: float
    reason: str = ""
    calls_from: float | None = None


def spread_of(groups: Iterable[Sequence[float]]) -> Spread | None:
    """Return the spread of logarithms, pooled over groups, each about its own mean; None for no two of one.

    Args:
        groups: Of each gate, one logarithm a run.
    """
    squares, degrees = 0.0, 0
    for each in groups:
        if len(each) > 1:
            squares += statistics.variance(each) * (len(each) - 1)
            degrees += len(each) - 1
    return Spread(math.sqrt(squares / degrees), degrees) if degrees else None


def predict(
    stored: Sequence[float],
    new: float,
    tolerance: float,
    spread: Spread | None,
    *,
    alpha: float,
    negligible: float | None = None,
    shared: float = 0.0,
    beta: float = BETA,
) -> Prediction:
    """Compare a new run with the prediction interval of stored ones, all logarithms of times or ratios.

    The standard error of predicting one more run from S is sd * sqrt(1 + 1/S), with Student's t of the
    spread's degrees of freedom (Hahn and Meeker, "Statistical intervals", 1991, section 4.7).

    Args:
        stored: One logarithm a run; at least one.
        new: That of the new run.
        tolerance: The loss that must be called, as a ratio above 0.
        spread: Of the runs; with less than ``LEAST_RUNS - 1`` degrees of freedom it decides nothing.
        alpha: Of a false "regressed", and of a false "improved", of this one question.
        negligible: The logarithm that is too small to matter; a fifth of the tolerance's by default.
        shared: Variance of an error that the stored runs have in common, in units of that of a run.
        beta: Of a false "pass".
    """
    worse = new - statistics.fmean(stored)
    if spread is None or spread.degrees < LEAST_RUNS - 1:
        return Prediction(Verdict.INCONCLUSIVE, worse)
    margin = math.log1p(tolerance)
    error = spread.sd * math.sqrt(1 + 1 / len(stored) + shared)
    # Multiplied by the error instead of divided, so that stored runs may be equal.
    calls_from = (margin / 5 if negligible is None else negligible) + quantile(
        spread.degrees, 1 - alpha
    ) * error
    if worse > calls_from:
        verdict = Verdict.REGRESSED
    elif -worse > calls_from:
        verdict = Verdict.IMPROVED
    elif worse + quantile(spread.degrees, 1 - beta) * error < margin:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    return Prediction(verdict, worse, quantile(spread.degrees, 1 - ALPHA / 2) * error, calls_from)


def screen(
    metric: Metric,
    stored: Sequence[float],
    value: float,
    tolerance: float,
    family: int = 1,
    negligible: float | None = None,
) -> Screening:
    """Compare a new run's value with stored ones, all in the metric's unit and above 0.

    ``family`` metrics share ``ALPHA``; the other arguments are those of :func:`predict`.
    """
    sign = -1.0 if metric.better == "higher" else 1.0
    times = [sign * math.log(each) for each in stored]
    spread = spread_of([times])
    found = predict(
        times, sign * math.log(value), tolerance, spread, alpha=ALPHA / family, negligible=negligible
    )
    return Screening(
        found.verdict,
        change_of(metric, found.worse),
        interval_about(metric, found),
        math.exp(sign * statistics.fmean(times)),
        f"{len(times)} of {LEAST_RUNS} runs" if found.reach is None else "",
        None if found.calls_from is None else math.expm1(found.calls_from),
    )


def lasting_change(logs: Sequence[float]) -> float | None:
    """Return by how much the last five runs differ from those before, if that is more than chance; or None.

    Student's t-test of two samples of equal variance, two-sided at 0.1 %. It is no gate: if runs depend on
    those before them (AR(1) of 0.6), 5 % of looks at nothing find a change.

    Args:
        logs: One logarithm a run, oldest first; less than 15 are too few.
    """
    before, after = logs[:-_LAST], logs[-_LAST:]
    if len(before) < 2 * _LAST:
        return None
    spread = spread_of([before, after])
    assert spread is not None
    change = statistics.fmean(after) - statistics.fmean(before)
    error = spread.sd * math.sqrt(1 / len(before) + 1 / _LAST)
    return change if abs(change) > quantile(spread.degrees, 1 - _LASTING_ALPHA / 2) * error else None


def interval_about(metric: Metric, found: Prediction) -> tuple[float, float] | None:
    """Return the interval of a prediction as relative changes of the metric, lower end first."""
    if found.reach is None:
        return None
    return interval_of(metric, (found.worse - found.reach, found.worse + found.reach))


def centre_and_spread(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the geometric mean and the standard deviation of the logarithms.

    Both are None if a value is not above 0; the standard deviation is None for a single value.
    """
    if min(values) <= 0:
        return None, None
    logs = [math.log(each) for each in values]
    return math.exp(statistics.fmean(logs)), statistics.stdev(logs) if len(logs) > 1 else None
