"""Plans: campaigns, sessions and the estimate."""

from __future__ import annotations

import pytest

from pytest_llm.measure import plan
from pytest_llm.records import (
    Benchmark,
    Installed,
    LoadOptions,
    Subject,
    TestKey,
    Workload,
)


def benchmark(name: str, model: str, depth: int = 0) -> Benchmark:
    subject = Subject(model, Installed("llama-cpp-python"), LoadOptions())
    return Benchmark(name, TestKey("m", name), subject, Workload(depth=depth))


def test_a_plan_has_one_campaign_a_subject_and_each_workload_once() -> None:
    made = plan.make_plan(
        [benchmark("1", "a"), benchmark("2", "b"), benchmark("3", "a", 9), benchmark("4", "a")], "normal"
    )
    assert [(each.subject.model, len(each.workloads)) for each in made.campaigns] == [("a", 2), ("b", 1)]
    assert [each.nodeid for each in made.benchmarks] == ["1", "3", "4", "2"]
    assert made.campaign_of(made.benchmarks[-1].subject).subject.model == "b"


@pytest.mark.parametrize(("effort", "sessions"), [("quick", 3), ("normal", 5), ("thorough", 10)])
def test_effort_says_how_many_sessions(effort: str, sessions: int) -> None:
    (campaign,) = plan.make_plan([benchmark("1", "a")], effort).campaigns
    assert campaign.sessions == sessions


def test_the_estimate_grows_with_sessions_and_workloads() -> None:
    one = plan.estimate(plan.make_plan([benchmark("1", "a")], "normal"))
    two = plan.estimate(plan.make_plan([benchmark("1", "a"), benchmark("2", "a", 9)], "normal"))
    more = plan.estimate(plan.make_plan([benchmark("1", "a")], "thorough"))
    assert 0 < one < two < 2 * one
    assert more == 2 * one
