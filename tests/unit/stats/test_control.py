"""When a machine has another speed than its stored controls tell."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.stats.control import times_as_fast

rates = st.floats(1e6, 1e12)


@pytest.mark.parametrize(
    ("now", "found"),
    [(170.0, 1.7), (50.0, 0.5), (116.0, 1.16), (114.0, None), (100.0, None), (88.0, None), (86.0, 0.86)],
)
def test_a_steady_machine_differs_from_15_percent_on(now: float, found: float | None) -> None:
    ratio = times_as_fast([99.0, 100.0, 101.0, 100.0, 100.0], now)
    assert ratio == (found and pytest.approx(found))


def test_a_machine_that_wanders_differs_from_three_times_its_own_spread_on() -> None:
    stored = [80.0, 90.0, 100.0, 111.0, 125.0]  # of which the logarithms spread by 0.176
    assert times_as_fast(stored, 165.0) is None
    assert times_as_fast(stored, 175.0) == pytest.approx(1.75)


def test_one_stored_run_has_no_spread() -> None:
    assert times_as_fast([100.0], 114.0) is None
    assert times_as_fast([100.0], 120.0) == pytest.approx(1.2)


@given(st.lists(rates, min_size=1, max_size=20), rates, st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(stored: list[float], now: float, scale: float) -> None:
    plain = times_as_fast(stored, now)
    scaled = times_as_fast([each * scale for each in stored], now * scale)
    if plain is not None and scaled is not None:  # at the very edge, rounding decides
        assert math.isclose(plain, scaled, rel_tol=1e-9)


@given(st.lists(rates, min_size=1, max_size=20))
def test_the_median_itself_never_differs(stored: list[float]) -> None:
    ordered = sorted(stored)
    assert times_as_fast(stored, ordered[len(ordered) // 2]) is None or len(ordered) % 2 == 0
