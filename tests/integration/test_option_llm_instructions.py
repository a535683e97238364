"""``--llm-instructions`` counts the instructions of a decoded token, which can be gated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

ON = "--llm-instructions"
MILLION = 1_000_000


@pytest.fixture(autouse=True)
def _gated(project: Project, fake: Fake) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_no_regression("instructions_per_token", tolerance="0.5%")
        def test_it(llm_bench):
            pass
        """
    )
    fake.set(counts={"instructions_per_token": 100 * MILLION})


def entry(project: Project, *options: str) -> Any:
    (test,) = project.results(*options)["tests"]
    return test["metrics"].get("instructions_per_token")


def test_is_off_by_default_and_the_message_names_it(project: Project) -> None:
    results = project.results()
    (missing,) = results["not_covered"]
    assert missing["reason"] == (
        "instructions per token cannot be had: it takes --llm-instructions, and the engine llama-cpp-python"
    )
    assert results["tests"][0]["outcome"] == "passed"


def test_counts_on_the_command_line_and_by_the_ini_file(project: Project) -> None:
    assert (entry(project, ON)["value"], entry(project, ON)["unit"]) == (100 * MILLION, "instr")
    project.pytester.makeini("[pytest]\nllm_instructions = true\n")
    assert entry(project)["value"] == 100 * MILLION


@pytest.mark.parametrize(
    ("millions", "verdict"),
    [(100.4, "pass"), (99.6, "pass"), (100.6, "regressed"), (99.4, "improved")],
)
def test_a_pair_is_gated_with_the_tolerance(
    project: Project, reference: str, fake: Fake, millions: float, verdict: str
) -> None:
    fake.set_reference(counts={"instructions_per_token": 100 * MILLION})
    fake.set(counts={"instructions_per_token": round(millions * MILLION)})
    found = entry(project, ON, f"--llm-against={reference}")["comparison"]
    assert (found["verdict"], found["tolerance"], found["sessions"]) == (verdict, 0.005, 1)


def test_a_loss_fails_with_both_numbers(project: Project, reference: str, fake: Fake) -> None:
    fake.set_reference(counts={"instructions_per_token": 102.3 * MILLION})
    fake.set(counts={"instructions_per_token": 103.8 * MILLION})
    text = project.failures(ON, f"--llm-against={reference}")["test_it"]
    assert text.splitlines()[0] == (
        "instructions per token rose from 102.3 M instr to 103.8 M instr, +1.5 % "
        "(a count, 1 session, a loss above 0.5 % fails)"
    )


def test_a_stored_count_is_compared_if_it_was_counted_in_the_same_way(project: Project, fake: Fake) -> None:
    project.measure(ON, "--llm-update-baselines=new").assert_outcomes(passed=1)
    fake.set(counts={"instructions_per_token": 101 * MILLION})
    assert entry(project, ON)["baseline"]["verdict"] == "regressed"


@pytest.mark.parametrize("reason", ["no hardware counter (none), and no valgrind on PATH"])
def test_where_nothing_counts_it_is_not_covered_with_the_reason(
    project: Project, fake: Fake, reason: str
) -> None:
    fake.set(counts={"instructions_per_token": reason})
    (missing,) = project.results(ON)["not_covered"]
    assert missing["reason"] == f"instructions per token cannot be had: {reason}"
