"""Intervals that assume nothing of a distribution."""

from __future__ import annotations

import random

from benchmarks.order_statistics import median_interval


def test_the_known_order_statistics_are_taken() -> None:
    # Tables of the sign test: for n = 20 the 6th and the 15th value enclose the median at 95 %.
    assert median_interval([float(n) for n in range(1, 21)]) == (10.5, 6.0, 15.0)
    assert median_interval([float(n) for n in range(1, 11)]) == (5.5, 2.0, 9.0)


def test_too_few_values_give_the_extremes() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


def test_the_interval_covers_as_often_as_it_says() -> None:
    source = random.Random(1)
    covered = 0
    for _ in range(2000):
        _, low, high = median_interval([source.gauss(0, 1) for _ in range(15)])
        covered += low <= 0 <= high
    assert 0.95 <= covered / 2000 <= 0.98
