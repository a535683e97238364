"""Student's t against scipy's incomplete beta function, closed forms and its symmetry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from pytest_llm.stats.student_t import quantile

DEGREES = (*range(1, 61), 99, 100, 500, 1000)
TAILS = (*np.logspace(-150, -3, 25), *np.linspace(0.002, 0.4, 30), 0.05, math.nextafter(0.05, 1))

degrees_of_freedom = st.integers(1, 300)
probabilities = st.floats(0, 1, exclude_min=True, exclude_max=True)


@pytest.mark.parametrize("degrees", DEGREES)
def test_scipys_distribution_function_takes_it_back_to_the_tail(degrees: int) -> None:
    square = np.array([quantile(degrees, float(tail)) for tail in TAILS]) ** 2
    tails = special.betainc(degrees / 2, 0.5, degrees / (degrees + square)) / 2
    assert tails == pytest.approx(np.array(TAILS), rel=1e-12)


@pytest.mark.parametrize("degrees", DEGREES)
def test_the_centre_of_the_distribution_is_as_accurate(degrees: int) -> None:
    areas = np.array([*np.logspace(-15, -1, 29), *np.linspace(0.1, 0.89, 20)])
    probabilities = 0.5 + areas / 2
    exact = 2 * probabilities - 1
    square = np.array([quantile(degrees, float(each)) for each in probabilities]) ** 2
    assert special.betainc(0.5, degrees / 2, square / (degrees + square)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("degrees", range(4, 61))
def test_the_levels_in_use_are_those_of_scipys_inverse(degrees: int) -> None:
    for tail in (0.05, 0.005, *(0.01 / family for family in range(1, 25))):
        share = special.betaincinv(degrees / 2, 0.5, 2 * (1 - (1 - tail)))
        assert quantile(degrees, 1 - tail) == pytest.approx(math.sqrt(degrees / share - degrees), rel=1e-12)


@given(probabilities)
def test_one_and_two_degrees_have_closed_forms(probability: float) -> None:
    if min(probability, 1 - probability) < 1e-300:
        return
    tail = min(probability, 1 - probability)
    cauchy = math.tan(math.pi * (probability - 0.5)) if tail > 0.25 else 1 / math.tan(math.pi * tail)
    assert abs(quantile(1, probability)) == pytest.approx(abs(cauchy), rel=1e-12)
    centred = (probability - 0.5) / math.sqrt(probability * (1 - probability) / 2)
    assert quantile(2, probability) == pytest.approx(centred, rel=1e-12)


@given(degrees_of_freedom, st.floats(1e-300, 0.5))
def test_it_is_symmetric_about_0(degrees: int, area: float) -> None:
    below, above = 0.5 - area, 0.5 + area
    if below <= 0 or 1 - above != below:
        return
    assert quantile(degrees, below) == -quantile(degrees, above)


@given(degrees_of_freedom, probabilities, probabilities)
def test_it_rises_with_the_probability(degrees: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if low < 1e-300:
        return
    assert quantile(degrees, low) <= quantile(degrees, high) * (1 + math.copysign(1e-13, high - 0.5))


def test_the_median_is_0_and_many_degrees_are_almost_normal() -> None:
    assert quantile(7, 0.5) == 0
    assert quantile(1_000_000, 0.975) == pytest.approx(1.9599663, abs=1e-7)


@pytest.mark.parametrize(("degrees", "probability"), [(0, 0.5), (-1, 0.9), (3, 0.0), (3, 1.0), (3, math.nan)])
def test_what_has_no_quantile_is_an_error(degrees: int, probability: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        quantile(degrees, probability)
