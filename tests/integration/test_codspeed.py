"""Beside pytest-codspeed, which replaces the fixture ``benchmark``: models are measured and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

# Runs in this process are without it; it would time the plain test for three seconds.
CODSPEED = ("-p", "codspeed", "--codspeed-warmup-time=0", "--codspeed-max-time=0.01")
TESTS = """
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    @pytest.mark.llm_tokens_per_second(min=1)
    def test_kept(llm_bench):
        pass

    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    @pytest.mark.llm_tokens_per_second(min=1000)
    def test_exceeded():
        pass

    def test_plain(benchmark):
        benchmark(sum, [1, 2, 3])
"""


@pytest.fixture(autouse=True)
def _tests(project: Project) -> None:
    project.write(TESTS)


def test_enabled_it_leaves_our_verdicts_alone(project: Project, fake: Fake) -> None:
    result = project.measure(*CODSPEED, "--codspeed", "--llm-json=results.json")

    result.assert_outcomes(passed=2, failed=1)
    assert "the limit is at least 1000 tok/s" in project.texts(result)["test_exceeded"]
    assert len(fake.started) == 3
    result.stdout.fnmatch_lines(["*1 benchmarked*"])  # the plain one


def test_enabled_by_its_action_as_well(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODSPEED_ENV", "1")
    monkeypatch.setenv("CODSPEED_RUNNER_MODE", "walltime")
    monkeypatch.setenv("CODSPEED_PROFILE_FOLDER", str(project.path))

    project.measure(*CODSPEED).assert_outcomes(passed=2, failed=1)


def test_not_enabled_records_are_made_as_without_it(project: Project) -> None:
    result = project.measure(*CODSPEED, "--benchmark-max-time=0.01", "--benchmark-columns=rounds")

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines_random(["*benchmark: 3 tests*", "test_kept  *", "test_exceeded  *"])


def test_with_pytest_benchmark_blocked_models_are_judged(project: Project) -> None:
    project.measure(*CODSPEED, "--codspeed", "-p", "no:benchmark").assert_outcomes(passed=2, failed=1)


def test_not_enabled_and_without_pytest_benchmark_models_are_judged(project: Project) -> None:
    result = project.measure(*CODSPEED, "-p", "no:benchmark", "--deselect", "test_it.py::test_plain")

    result.assert_outcomes(passed=1, failed=1, deselected=1)


def test_a_test_of_ours_may_use_its_fixture(project: Project) -> None:
    project.write("def test_it(llm_bench, benchmark): assert benchmark(sum, [1, 2]) == 3")

    project.measure(*CODSPEED, "--codspeed").assert_outcomes(passed=1)


def test_a_marker_for_records_is_left_as_it_was(project: Project) -> None:
    project.write("@pytest.mark.benchmark(group='a')\ndef test_it(llm_bench): pass")

    project.measure(*CODSPEED, "--codspeed").assert_outcomes(passed=1)


def test_without_our_flag_benchmarks_are_not_selected(project: Project, fake: Fake) -> None:
    result = project.run(*CODSPEED, "--codspeed")

    result.assert_outcomes(passed=1, deselected=2)
    assert fake.started == []
