"""Mean differences of paired samples."""

from __future__ import annotations

import pytest
from scipy import stats

from pytest_llm.stats.differences import difference


def test_the_interval_is_that_of_scipy() -> None:
    ours, theirs = [3.1, 2.9, 3.4, 3.0, 3.2], [1.0, 1.1, 1.2, 0.8, 1.0]
    found = difference(ours, theirs, 0.95)
    paired = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found.mean == pytest.approx(2.1)
    assert found.interval == pytest.approx((paired.low, paired.high))


def test_one_pair_has_no_interval_and_none_no_difference() -> None:
    assert difference([2.0], [1.5]) == (0.5, None)
    with pytest.raises(ValueError, match="at least one pair"):
        difference([], [])
    with pytest.raises(ValueError, match="zip"):
        difference([1.0], [])
