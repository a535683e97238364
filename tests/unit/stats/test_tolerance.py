"""How far an output may be from its reference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.records import Contrast, Divergence, Furthest, Variant
from pytest_llm.stats.tolerance import outside, tolerance

VARIANTS = Variant("a", 1e-3, 2e-3, 0.3), Variant("b", 5e-4, 4e-3, 0.1)


def contrast(mean: float, tail: float, variants: tuple[Variant, ...] = VARIANTS) -> Contrast:
    candidate = Divergence(2, mean, tail, tail, 0, 0.0, 9.0, Furthest(0, 0, 0.0, 0.0))
    return Contrast("Q4_1 weights", candidate, variants)


def test_the_tolerance_is_four_times_the_furthest_variant_and_twice_its_lead() -> None:
    assert tolerance(contrast(0, 0)) == pytest.approx((4e-3, 1.6e-2, 0.6))
    assert tolerance(contrast(0, 0, ())) is None


def test_the_tolerance_is_never_below_the_resolution() -> None:
    still = contrast(0, 0, (Variant("a", 0.0, 0.0, 0.0),))
    assert tolerance(still) == (0, 0, 0)
    assert tolerance(replace(still, resolution=1e-8)) == (1e-8, 1e-8, 1e-8)


@pytest.mark.parametrize(
    ("mean", "tail", "expected"),
    [(1.0, 1.0, False), (1.01, 0.0, True), (0.0, 1.01, True)],
)
def test_either_the_mean_or_the_tail_can_be_outside(mean: float, tail: float, expected: bool) -> None:
    assert outside(contrast(mean * 4e-3, tail * 1.6e-2)) is expected
    assert not outside(contrast(mean, tail, ()))
