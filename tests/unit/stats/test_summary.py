"""From series to samples, from samples to values."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.records import Measurement, Series
from pytest_llm.records.metrics import METRICS, at_percentile
from pytest_llm.stats.summary import is_noisy, percentile, range_of, summarize

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


def test_a_rate_is_all_tokens_by_all_seconds_of_a_session_and_of_the_run() -> None:
    sessions = [Series((0.1, 0.2, 0.5), tokens=4), Series((0.5, 0.5), tokens=4), Series((1.0,), tokens=4)]
    found = summarize(METRICS["generation_tokens_per_second"], sessions)
    assert found.samples == pytest.approx((15.0, 8.0, 4.0), rel=1e-12)
    assert found.value == pytest.approx(24 / 2.8, rel=1e-12)


def test_slices_of_different_sizes_count_by_their_tokens() -> None:
    found = summarize(METRICS["prompt_tokens_per_second"], [Series.of_work((1.0, 0.5), (512, 188))])
    assert found.value == pytest.approx(700 / 1.5, rel=1e-12)


def test_counts_of_tokens_are_one_for_each_value() -> None:
    with pytest.raises(ValueError, match="2 token_counts for 1 values"):
        Series((1.0,), token_counts=(1, 2))


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


@pytest.mark.parametrize(
    ("samples", "expected"), [((8.0, 10.0, 13.0), False), ((8.0, 10.0, 13.1), True), ((0.0, 0.0, 0.0), False)]
)
def test_samples_that_range_over_more_than_half_of_their_median_are_noisy(
    samples: tuple[float, ...], expected: bool
) -> None:
    measured = Measurement(METRICS["load_time"], 10.0, samples)
    assert range_of(measured) == (samples[0], samples[-1])
    assert is_noisy(measured) is expected
