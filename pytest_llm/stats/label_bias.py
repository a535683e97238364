"""Spread of label-bound bias, estimated from pairs of equal builds.

Label-bound is what stays with one side of a pair for all of its sessions and is not its code: its memory
layout, its path, its environment. More sessions do not average it out.
"""

from __future__ import annotations

import math
from statistics import fmean, variance
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    # Log ratios of the sessions of each pair.
    Pairs = Sequence[Sequence[float]]

_LEAST_VARIANCE = 1e-12  # of an estimate, so that sessions may be equal


def label_bias_spread(metrics: Sequence[Pairs]) -> float:
    """Return the standard deviation of the bias, in logarithms: what sampling leaves unexplained.

    Random effects about a mean of zero, by the method of moments: DerSimonian and Laird (1986),
    "Meta-analysis in clinical trials", Controlled Clinical Trials 7, 177-188, with the mean known. The spread
    of sessions is pooled over the pairs of a metric; precise estimates weigh more than others.

    Args:
        metrics: For each metric its pairs, at least two sessions each.
    """
    estimates = [each for pairs in metrics for each in _estimates(pairs)]
    weights = [1 / sampling for _, sampling in estimates]
    chi_square = sum(change**2 / sampling for change, sampling in estimates)
    return math.sqrt(max(0.0, (chi_square - len(estimates)) / sum(weights)))


def refuses(tau: float, tolerance: float) -> bool:
    """Return if three times the spread is more than half of a gate's tolerance, in logarithms."""
    return 3 * tau > math.log1p(tolerance) / 2


def least_tolerance(tau: float) -> float:
    """Return the least tolerance that :func:`refuses` leaves."""
    return math.expm1(6 * tau)


def _estimates(pairs: Pairs) -> list[tuple[float, float]]:
    """Return each pair's mean and the variance that sampling gives it."""
    degrees = sum(len(each) - 1 for each in pairs)
    pooled = sum(variance(each) * (len(each) - 1) for each in pairs) / degrees
    return [(fmean(each), max(pooled / len(each), _LEAST_VARIANCE)) for each in pairs]
