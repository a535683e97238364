"""Plans: campaigns, sessions and the estimate."""

from __future__ import annotations

import pytest

from pytest_llm.measure import plan
from pytest_llm.records import (
    Benchmark,
    Gate,
    Installed,
    LoadOptions,
    Subject,
    TestKey,
    VariantsAsked,
    Workload,
)
from pytest_llm.records.metrics import METRICS


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


GATES = tuple(
    Gate(METRICS[name], 0.05) for name in ("prompt_tokens_per_second", "generation_tokens_per_second")
)


def variant(function: str, model: str, depth: int = 0, *, output: bool = True) -> Benchmark:
    subject = Subject(model, Installed("llama-cpp-python"), LoadOptions())
    key = TestKey("m", function, f"{model}-{depth}")
    asked = VariantsAsked(GATES, output)
    return Benchmark(f"{function}[{model}-{depth}]", key, subject, Workload(depth=depth), variants=asked)


def test_variants_of_a_function_share_one_campaign_and_the_error_rate() -> None:
    made = plan.make_plan(
        [variant("f", each, depth) for each in ("a", "b", "c") for depth in (0, 9)], "normal"
    )
    (campaign,) = made.campaigns
    assert [each.model for each in campaign.variants] == ["a", "b", "c"]
    assert campaign.reference is campaign.variants[0]
    assert len(campaign.workloads) == 2
    assert made.family == 2 * 2 * 2
    assert set(made.variants) == {each.nodeid for each in made.benchmarks}
    assert len(made.captures) == 3


def test_functions_with_other_variants_have_campaigns_of_their_own() -> None:
    ones = [
        variant("f", "a"),
        variant("f", "b"),
        variant("g", "b", output=False),
        variant("g", "a", output=False),
    ]
    made = plan.make_plan(ones, "normal")
    assert [[each.model for each in one.variants] for one in made.campaigns] == [["a", "b"], ["b", "a"]]
    assert [one.output for one in made.campaigns] == [True, False]
    equal = plan.make_plan([*ones[:2], variant("h", "a"), variant("h", "b")], "normal")
    assert len(equal.campaigns) == 1


def test_the_only_variant_is_measured_alone() -> None:
    made = plan.make_plan([variant("f", "a"), variant("f", "b", 9)], "normal", lambda subject: subject)
    assert [(each.reference, each.variants) for each in made.campaigns] == [(None, ()), (None, ())]
    assert made.variants == {}
