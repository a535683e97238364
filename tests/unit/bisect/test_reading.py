"""What the results of a comparison answer."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_llm.bisect import interpret
from pytest_llm.bisect.pytest_runner import Planned
from pytest_llm.bisect.search import Relation
from pytest_llm.checks.drift import sentence
from pytest_llm.errors import UnknownNameError
from pytest_llm.records import Gate, LoadOptions, Workload
from pytest_llm.records.metrics import METRICS

PROMPT, GENERATION, LOAD = "prompt_tokens_per_second", "generation_tokens_per_second", "load_time"


def results(verdicts: dict[str, str], *, output: bool = False, says: bool = True) -> dict[str, Any]:
    differences = [{"name": "greedy_output", "before": [1], "now": [2]}] if output else []
    metrics = {name: {"comparison": comparison(verdict)} for name, verdict in verdicts.items()}
    return {
        "tests": [{"metrics": metrics, "drift": {"differences": differences, "reason": ""}}],
        "runs": {
            "run-1": {"invariants": {"greedy_output": [1]}},
            "run-2": {"invariants": {"greedy_output": [1]} if says else {}},
        },
        "not_covered": [],
    }


def comparison(verdict: str, change: float | None = -0.1, interval: Any = (-0.2, -0.05)) -> dict[str, Any]:
    return {"verdict": verdict, "change": change, "interval": interval, "sessions": 6, "reason": ""}


def planned(*names: str) -> Planned:
    gates = tuple(Gate(METRICS[name], 0.05) for name in names)
    return Planned("test", "m", "0" * 64, LoadOptions(), Workload(), gates, 6, 1.0)


@pytest.mark.parametrize(
    ("verdict", "relation"),
    [
        ("regressed", Relation.WORSE),
        ("improved", Relation.BETTER),
        ("pass", Relation.SAME),
        ("inconclusive", Relation.INCONCLUSIVE),
        ("not judged", Relation.INCONCLUSIVE),
    ],
)
def test_a_verdict_is_a_relation(verdict: str, relation: Relation) -> None:
    assert interpret.answer(results({PROMPT: verdict}), PROMPT).relation is relation


def test_a_rate_that_falls_is_a_positive_log_ratio() -> None:
    found = interpret.answer(results({PROMPT: "regressed"}), PROMPT)
    told = (found.size, found.low, found.high)
    assert told == pytest.approx((-math.log(0.9), -math.log(0.95), -math.log(0.8)))


def test_a_latency_that_falls_is_a_negative_one() -> None:
    found = interpret.answer(results({LOAD: "improved"}), LOAD)
    told = (found.size, found.low, found.high)
    assert told == pytest.approx((math.log(0.9), math.log(0.8), math.log(0.95)))


def test_too_few_sessions_for_an_interval_bound_nothing() -> None:
    document = results({PROMPT: "inconclusive"})
    document["tests"][0]["metrics"][PROMPT]["comparison"]["interval"] = None
    found = interpret.answer(document, PROMPT)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_a_metric_that_was_not_measured_is_inconclusive() -> None:
    assert interpret.answer(results({}), PROMPT).relation is Relation.INCONCLUSIVE


def test_another_output_is_worse_and_as_large_as_any_other() -> None:
    assert interpret.answer(results({}, output=True), "output").relation is Relation.WORSE
    assert interpret.answer(results({}), "output").relation is Relation.SAME


def test_where_one_says_nothing_the_output_was_not_compared() -> None:
    silent = results({}, says=False)
    assert interpret.answer(silent, "output").relation is Relation.INCONCLUSIVE
    unread = results({})
    unread["tests"][0]["drift"]["reason"] = "no facts"
    assert interpret.answer(unread, "output").relation is Relation.INCONCLUSIVE
    assert sentence(interpret.drift(silent)) == "output not compared; same configuration"
    assert sentence(interpret.drift(results({}))) == "same output; same configuration"


@pytest.mark.parametrize(
    ("prompt", "generation", "output", "followed"),
    [
        ("pass", "regressed", True, GENERATION),
        ("regressed", "regressed", False, PROMPT),
        ("improved", "pass", True, "output"),
        ("pass", "improved", False, GENERATION),
        ("pass", "inconclusive", False, PROMPT),
    ],
)
def test_what_the_ends_show_decides_what_is_followed(
    prompt: str, generation: str, output: bool, followed: str
) -> None:
    document = results({PROMPT: prompt, GENERATION: generation}, output=output)
    assert interpret.choose(document, planned(PROMPT, GENERATION)) == followed


def test_only_what_the_test_gates_can_be_followed() -> None:
    interpret.check("output", planned(PROMPT))
    with pytest.raises(
        UnknownNameError, match="unknown --metric 'prompt_token_per_second': did you mean prompt"
    ):
        interpret.check("prompt_token_per_second", planned(PROMPT))
