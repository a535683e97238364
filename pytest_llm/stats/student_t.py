"""Quantiles of Student's t distribution."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import count
from statistics import NormalDist


@lru_cache(maxsize=256)
def quantile(degrees: int, probability: float) -> float:
    """Return the value that Student's t stays below with a probability, 0 and 1 excluded.

    The distribution function is a regularized incomplete beta function (Abramowitz and Stegun, "Handbook of
    mathematical functions", 1964, equation 26.7.1), computed by its continued fraction (NIST Digital Library
    of Mathematical Functions, https://dlmf.nist.gov/8.17.E22) and inverted by Newton's method. The relative
    error is below 1e-13 up to 1,000 degrees of freedom. No library is used whose next version could change
    the last bit of a stored result.
    """
    if degrees < 1 or not 0 < probability < 1:
        raise ValueError(f"Student's t has no quantile {probability} with {degrees} degrees of freedom")
    tail = min(probability, 1 - probability)
    # Each of the two is accurate only on its own side.
    size = _from_area(degrees, abs(2 * probability - 1)) if tail > 0.05 else _from_tail(degrees, tail)
    return math.copysign(size, probability - 0.5)


def _from_area(degrees: int, area: float) -> float:
    """Return t with P(-t < T < t) = area."""
    # Newton from the left: the area is concave in t, and t lies beyond the normal quantile.
    beta = _beta(degrees)
    scaled = NormalDist().inv_cdf((1 + area) / 2) / math.sqrt(degrees)
    step = math.inf
    while abs(step) > 1e-9 * scaled:
        square = scaled * scaled
        density = 2 / beta * math.exp(-(degrees + 1) / 2 * math.log1p(square))
        step = area / density - scaled * _incomplete_beta(0.5, degrees / 2, square / (1 + square))
        scaled += step
    return scaled * math.sqrt(degrees)


def _from_tail(degrees: int, tail: float) -> float:
    """Return t with P(T > t) = tail."""
    # Newton on logarithms, in which the tail of few degrees is almost a straight line.
    beta = _beta(degrees)
    log_square = 2 * math.log(-NormalDist().inv_cdf(tail)) - math.log(degrees)
    step = math.inf
    while abs(step) > 1e-9:
        log_sum = max(log_square, 0.0) + math.log1p(math.exp(-abs(log_square)))  # log(1 + t²/degrees)
        fraction = _incomplete_beta(degrees / 2, 0.5, math.exp(-log_sum))
        log_tail = (log_square - (degrees + 1) * log_sum) / 2 + math.log(fraction / degrees / beta)
        step = 2 * fraction / degrees * (log_tail - math.log(tail))
        log_square += step
    return math.sqrt(degrees) * math.exp(log_square / 2)


def _beta(degrees: int) -> float:
    """Return B(degrees / 2, 1 / 2)."""
    half = degrees // 2
    central = math.prod((2 * k - 1) / (2 * k) for k in range(1, half + 1))  # binomial(2 half, half) / 4**half
    return math.pi * central if degrees % 2 else 1 / (half * central)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return I_x(a, b) * a * B(a, b) / (x**a * (1 - x)**b), by Lentz's algorithm."""
    value = numerator = 1.0
    denominator = 0.0
    for place in count(1):
        m = place // 2
        if place % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1 / (1 + term * denominator)
        numerator = 1 + term / numerator
        value *= numerator * denominator
        if abs(numerator * denominator - 1) < 2e-16:
            break
    return 1 / value
