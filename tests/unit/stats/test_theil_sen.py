"""The slope of what is held, and how far it can be trusted."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pytest_llm.checks import judge_limits
from pytest_llm.checks.limits import summary
from pytest_llm.records import (
    Limit,
    Run,
    Series,
    Session,
    Verdict,
)
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.summary import summarize_all
from pytest_llm.stats.theil_sen import interval, slopes
from tests.bare import RUN

LEAK = METRICS["leaked_bytes_per_token"]


def a_run(*sessions: Session) -> Run:
    """A run of which nothing is known but what its sessions noted."""
    return replace(RUN, sessions=sessions, measurements=summarize_all(sessions))


def rising(per_token: float, readings: int = 33, tokens: int = 16, spread: float = 0.0) -> Series:
    drawn = random.Random(5)
    return Series(
        tuple(1e8 + each * tokens * per_token + drawn.gauss(0, spread) for each in range(readings)), tokens
    )


def leaked(series: Series) -> float:
    return summarize_all([Session({}), Session({"anonymous_memory": series})])[LEAK.name].value


def test_a_slope_is_bytes_by_token_and_noted_in_one_session_only() -> None:
    assert leaked(rising(1000.0)) == pytest.approx(1000.0)
    assert leaked(rising(0.0)) == 0.0


def test_what_is_allocated_once_is_no_slope() -> None:
    values = [1e8] * 4 + [1e8 + 2**24] * 29
    assert leaked(Series(tuple(values), 16)) == 0.0


def test_one_wild_reading_changes_little() -> None:
    series = rising(1000.0)
    wild = (*series.values[:10], 9e9, *series.values[11:])
    assert leaked(Series(wild, 16)) == pytest.approx(1000.0, rel=1e-6)


def test_every_pair_of_readings_has_a_slope() -> None:
    assert sorted(slopes(Series((0.0, 2.0, 8.0), 2))) == [1.0, 2.0, 3.0]


def test_the_interval_holds_the_slope_as_often_as_it_says() -> None:
    missed = 0
    for seed in range(300):
        drawn = random.Random(seed)
        values = tuple(each * 16 * 500.0 + drawn.gauss(0, 30_000) for each in range(33))
        found = interval(Series(values, 16), 0.9)
        assert found is not None
        missed += not found[0] <= 500.0 <= found[1]
    assert missed <= 45  # 30 are expected


def test_the_interval_is_that_of_scipy() -> None:
    from scipy.stats import theilslopes

    series = rising(500.0, spread=20_000)
    places = [each * series.tokens for each in range(len(series.values))]
    theirs = theilslopes(series.values, places, alpha=0.99)
    found = interval(series)
    assert found is not None
    # One slope further out on either side where a rank is not a whole number.
    assert found[0] == pytest.approx(theirs.low_slope, rel=0.05)
    assert found[1] == pytest.approx(theirs.high_slope, rel=0.05)
    assert found[0] <= theirs.low_slope <= theirs.high_slope <= found[1]


def test_three_readings_are_too_few_for_an_interval() -> None:
    assert interval(Series((1.0, 2.0, 4.0), 1)) is None


def test_readings_that_never_change_have_an_interval_without_width() -> None:
    assert interval(Series((1.0,) * 33, 16)) == (0.0, 0.0)


def test_a_limit_is_judged_on_the_slope_and_told_with_its_interval() -> None:
    found = a_run(Session({}), Session({"anonymous_memory": rising(100_000.0)}))
    (over,) = judge_limits(found, [Limit(LEAK, 10_000.0)])
    assert over.verdict is Verdict.OVER_LIMIT
    assert summary(over) == (
        "memory leaked per token is 97.66 KiB, the limit is at most 9.766 KiB: +900.0 % "
        "(99 % interval 97.66 KiB … 97.66 KiB)"
    )
    (kept,) = judge_limits(found, [Limit(LEAK, 100_000.0)])
    assert kept.verdict is Verdict.PASS


def test_a_run_without_readings_is_not_covered() -> None:
    (found,) = judge_limits(a_run(Session({})), [Limit(LEAK, 1.0)])
    assert found.verdict is Verdict.NOT_COVERED
