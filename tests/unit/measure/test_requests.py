"""Whole requests: as many as the percentiles that are asked for need."""

from __future__ import annotations

import pytest

from pytest_llm.measure.plan import make_plan
from pytest_llm.measure.requests import requests_alone, requests_for, requests_paired
from pytest_llm.records import Benchmark, Gate, Installed, Limit, LoadOptions, Subject, TestKey, Workload
from pytest_llm.records.metrics import METRICS, find

CHAT = Workload(prompt_tokens=128, generate_tokens=33)
SUBJECT = Subject("m", Installed("llama-cpp-python"), LoadOptions())
PROMPT = METRICS["prompt_tokens_per_second"]
TOTAL = METRICS["total_tokens_per_second"]


def first_token(percentile: float) -> str:
    return f"first_token_latency_p{percentile:g}"


@pytest.mark.parametrize(
    ("percentile", "least"), [(1, 5), (50, 5), (60, 5), (75, 8), (90, 20), (95, 40), (99, 200), (99.9, 2000)]
)
def test_a_percentile_takes_two_observations_beyond_it(percentile: float, least: int) -> None:
    assert find(first_token(percentile)).least_observations == least
    assert find(f"inter_token_latency_p{percentile:g}").least_observations == least


def test_every_declared_percentile_has_its_least_and_nothing_else_has_one() -> None:
    found = {each.name: each.least_observations for each in METRICS.values() if each.least_observations > 1}
    assert found == {
        "first_token_latency": 5,
        "inter_token_latency_p50": 5,
        "inter_token_latency_p90": 20,
        "inter_token_latency_p99": 200,
    }


@pytest.mark.parametrize(
    ("name", "requests"),
    [
        ("prompt_tokens_per_second", 0),
        ("peak_ram", 0),
        ("total_tokens_per_second", 3),
        (first_token(50), 5),
        (first_token(95), 40),
        ("inter_token_latency_p50", 1),  # 32 gaps
        ("inter_token_latency_p99", 7),
    ],
)
def test_a_metric_takes_as_many_requests_as_hold_its_observations(name: str, requests: int) -> None:
    assert requests_for(find(name), CHAT) == requests


def test_one_token_has_no_time_between_tokens() -> None:
    assert requests_for(find("inter_token_latency_p99"), Workload(generate_tokens=1)) == 0


@pytest.mark.parametrize(("sessions", "requests"), [(3, 2), (5, 1), (10, 1)])
def test_a_subject_alone_takes_what_the_medians_need(sessions: int, requests: int) -> None:
    assert requests_alone([], CHAT, sessions) == requests


def test_the_percentiles_of_a_subject_alone_are_over_all_sessions() -> None:
    assert requests_alone([find(first_token(95)), PROMPT], CHAT, 5) == 8
    assert requests_alone([find(first_token(99)), PROMPT], CHAT, 3) == 67


def test_a_pair_takes_no_request_that_nobody_asks_for() -> None:
    assert requests_paired([PROMPT], [METRICS["peak_ram"]], CHAT, 6) == 0


def test_each_session_of_a_pair_has_its_own_percentile_and_limits_share_theirs() -> None:
    assert requests_paired([find(first_token(90))], [], CHAT, 6) == 20
    assert requests_paired([PROMPT], [find(first_token(90))], CHAT, 6) == 4
    assert requests_paired([TOTAL], [find(first_token(50))], CHAT, 6) == 3


def test_texts_are_no_requests() -> None:
    assert requests_alone([], Workload(embed=True), 5) == 0
    assert requests_paired([TOTAL], [], Workload(embed=True), 6) == 0


def test_the_plan_counts_the_requests_of_each_workload() -> None:
    deep = Workload(depth=9)
    asked = [
        Benchmark("1", TestKey("m", "1"), SUBJECT, CHAT, (Limit(find(first_token(95)), 1.0),)),
        Benchmark("2", TestKey("m", "2"), SUBJECT, CHAT, gates=(Gate(find(first_token(90)), 0.05),)),
        Benchmark("3", TestKey("m", "3"), SUBJECT, deep, gates=(Gate(PROMPT, 0.05),)),
    ]
    (alone,) = make_plan(asked, "normal").campaigns
    assert alone.requests == {CHAT: 8, deep: 1}
    (pair,) = make_plan(asked, "normal", lambda each: each).campaigns
    assert pair.requests == {CHAT: 20, deep: 0}
