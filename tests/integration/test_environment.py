"""Variables and threads that change speed: a baseline of other ones is drift."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

GATED = """
    @pytest.mark.llm_model(n_threads=2, n_threads_batch=2)
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    @pytest.mark.llm_no_regression()
    def test_speed(llm_bench):
        pass
"""
ACTIVE = {"OMP_WAIT_POLICY": "active"}


def _record(project: Project, fake: Fake, **now: Any) -> None:
    project.write(GATED)
    fake.set(**now)
    project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("then", "now", "difference"),
    [
        ({}, {"environment": ACTIVE}, "OMP_WAIT_POLICY unset → active"),
        ({"environment": ACTIVE}, {"environment": {}}, "OMP_WAIT_POLICY active → unset"),
        (
            {"environment": ACTIVE},
            {"environment": {"OMP_WAIT_POLICY": "passive"}},
            "OMP_WAIT_POLICY active → passive",
        ),
        ({"threads_at_work": 2}, {"threads_at_work": 1}, "threads_at_work 2 → 1"),
        ({"threads_at_work": 2}, {"threads_at_work": 0.5}, "threads_at_work 2 → 0.5"),
    ],
)
def test_a_baseline_of_another_environment_is_drift(
    then: dict[str, Any], now: dict[str, Any], difference: str, project: Project, fake: Fake
) -> None:
    _record(project, fake, **then)
    fake.set(**now)

    found = project.failures()

    assert f"same output; configuration differs: {difference}" in found["test_speed"]
    assert "--llm-update-baselines=replace" in found["test_speed"]


def test_the_same_environment_is_no_drift_and_one_that_does_not_tell_of_threads_is_none_either(
    project: Project, fake: Fake
) -> None:
    _record(project, fake, environment=ACTIVE, threads_at_work=2)
    project.measure().assert_outcomes(passed=1)
    fake.set(threads_at_work=None)
    project.measure().assert_outcomes(passed=1)


def test_runs_alone_are_compared_too_if_the_invariants_are_missing(project: Project, fake: Fake) -> None:
    _record(project, fake)
    (project.path / "baselines" / "portable" / "test_it.py.json").unlink()
    project.measure().assert_outcomes(passed=1)
    fake.set(environment=ACTIVE)
    assert "OMP_WAIT_POLICY unset → active" in project.failures()["test_speed"]


def test_a_run_of_another_environment_is_not_appended(project: Project, fake: Fake) -> None:
    _record(project, fake)
    fake.set(environment=ACTIVE)
    result = project.measure("--llm-update-baselines=append")
    result.stdout.fnmatch_lines(
        ["*recorded without OMP_WAIT_POLICY, now OMP_WAIT_POLICY=active: replace it*"]
    )
    project.measure("--llm-update-baselines=replace").assert_outcomes(passed=1)
    project.measure().assert_outcomes(passed=1)


def test_the_report_of_a_results_file_finds_the_same_drift(project: Project, fake: Fake) -> None:
    _record(project, fake)
    fake.set(environment=ACTIVE)
    (test,) = project.results()["tests"]
    assert [each["name"] for each in test["drift"]["differences"]] == ["OMP_WAIT_POLICY"]
    assert main(["report", str(project.path / "results.json")]) == 0
    assert json.loads((project.path / "results.json").read_text())["tests"][0]["drift"]["verdict"] == "drift"


def test_threads_that_affinity_or_quota_leave_idle_are_drift_without_any_baseline(
    project: Project, fake: Fake
) -> None:
    project.write(GATED.replace("llm_no_regression()", "llm_tokens_per_second(min=1)"))
    fake.set(threads_at_work=1)
    text = project.failures()["test_speed"]
    assert "n_threads=2 was asked for, 1 is in effect" in text
    assert "allow more processors (affinity, or the control group's CPU quota), or ask for" in text
    project.measure("--llm-drift=warn").assert_outcomes(passed=1)


def test_sides_of_a_pair_that_see_other_variables_have_drifted(
    project: Project, fake: Fake, reference: str
) -> None:
    project.write(GATED)
    fake.set_reference(environment=ACTIVE)
    found = project.failures(f"--llm-against={reference}")
    assert "OMP_WAIT_POLICY active → unset" in found["test_speed"]


def test_the_header_names_variables_that_do_not_reach_the_engine_and_never_their_values(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(GATED)
    monkeypatch.setenv("LLAMA_FORK", "secret")
    shown = project.measure().stdout.str()
    assert "llm-bench: not passed to llama.cpp: LLAMA_FORK (PYTEST_LLM_PASS names more)" in shown
    assert "secret" not in shown
    assert "not passed" not in project.run().stdout.str()
    monkeypatch.setenv("PYTEST_LLM_PASS", "LLAMA_FORK*")
    assert "not passed" not in project.measure().stdout.str()


def test_the_header_names_credentials_that_were_asked_for_and_never_their_values(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(GATED)
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "secret")
    monkeypatch.setenv("PYTEST_LLM_PASS", "LLAMA_*")
    shown = project.measure().stdout.str()
    assert "not passed to llama.cpp, as they look like credentials: LLAMA_CLOUD_API_KEY (rename" in shown
    assert "secret" not in shown
