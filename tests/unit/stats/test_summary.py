"""From series to samples, from samples to values."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.records import Series
from pytest_llm.records.metrics import METRICS, at_percentile
from pytest_llm.stats.summary import percentile, summarize

numbers = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40)


@given(numbers, st.integers(1, 99))
def test_percentiles_are_those_of_the_standard_library(values: list[float], rank: int) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")[rank - 1]
    assert percentile(values, rank) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(numbers)
def test_the_ends_are_the_extremes(values: list[float]) -> None:
    assert percentile(values, 0) == min(values)
    assert percentile(values, 100) == max(values)


def test_one_observation_is_every_percentile() -> None:
    assert percentile([3.0], 1) == percentile([3.0], 99) == 3.0


def test_a_rate_is_tokens_by_seconds_and_its_value_the_median_of_the_sessions_medians() -> None:
    sessions = [Series((0.1, 0.2, 0.4), tokens=4), Series((0.5, 0.5), tokens=4), Series((1.0,), tokens=4)]
    found = summarize(METRICS["generation_tokens_per_second"], sessions)
    assert found.samples == (20.0, 8.0, 4.0)
    assert found.value == 8.0


def test_a_latency_s_value_is_over_all_observations_not_over_the_sessions_samples() -> None:
    sessions = [Series((1.0, 2.0, 3.0)), Series((10.0,))]
    found = summarize(METRICS["first_token_latency"], sessions)
    assert found.samples == (2.0, 10.0)
    assert found.value == 2.5


def test_a_percentile_of_a_latency_looks_at_its_tail() -> None:
    sessions = [Series(tuple(float(n) for n in range(101))), Series((1000.0,))]
    found = summarize(at_percentile("inter_token_latency", 99), sessions)
    assert found.samples == (99.0, 1000.0)
    assert found.value == pytest.approx(99.99)
