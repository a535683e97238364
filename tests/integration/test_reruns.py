"""Beside pytest-rerunfailures: a benchmark that fell short is not asked again until it passes."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Ini, Project

TESTS = """
    from pathlib import Path

    short = pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)

    def count(name):
        with Path("attempts").open("a") as file:
            file.write(name + "\\n")

    @short
    @pytest.mark.llm_tokens_per_second(min=1000)
    def test_slow():
        count("benchmark")

    @short
    {marker}
    def test_own_assertion(llm_bench):
        count("benchmark with a marker")
        assert False

    def test_ordinary():
        count("ordinary")
        assert False

    def test_functional(gguf_model):
        count("functional")
        assert False
"""
MARKED = "@pytest.mark.flaky(reruns=2)"
ONCE = {"benchmark": 1, "benchmark with a marker": 1, "ordinary": 1, "functional": 1}
RERUNNING = ("-p", "rerunfailures")  # runs in this process are without it
RERUNFAILURES = tuple(map(int, version("pytest-rerunfailures").split(".")[:2]))
FORCED = "--llm-bench does not go with --force-reruns"


def _attempts(project: Project, *arguments: str, marker: str = "") -> dict[str, int]:
    project.write(TESTS.format(marker=marker))
    project.measure(*RERUNNING, *arguments)
    lines = (project.path / "attempts").read_text().splitlines()
    return {name: lines.count(name) for name in ONCE}


def test_a_benchmark_runs_once_and_other_tests_as_often_as_is_asked(project: Project) -> None:
    assert _attempts(project, "--reruns=3", marker=MARKED) == {**ONCE, "ordinary": 4, "functional": 4}


def test_an_ini_file_that_asks_for_reruns_changes_nothing_for_benchmarks(project: Project, ini: Ini) -> None:
    ini.write(reruns="2")

    assert _attempts(project) == {**ONCE, "ordinary": 3, "functional": 3}


@pytest.mark.skipif(RERUNFAILURES < (16, 3), reason="older pytest-rerunfailures adds nothing up")
def test_counts_that_are_added_up_do_not_reach_benchmarks(project: Project) -> None:
    found = _attempts(project, "--reruns=1", "--reruns-mode=append", marker=MARKED)

    assert found == {**ONCE, "ordinary": 2, "functional": 2}


def test_a_failed_benchmark_counts_as_failed(project: Project) -> None:
    project.write(TESTS.format(marker=MARKED))

    result = project.measure(*RERUNNING, "--reruns=3", "-k", "slow or own_assertion")

    result.assert_outcomes(failed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "rerun" not in result.outlines[-1]


def test_reruns_that_overrule_markers_are_refused(project: Project) -> None:
    project.write(TESTS.format(marker=""))

    told = project.usage_error(*RERUNNING, *project.measuring(), "--force-reruns=2")

    assert f"ERROR: {FORCED}, which runs a benchmark until it passes: take --reruns" in told
    assert not (project.path / "attempts").exists()


def test_they_are_refused_where_a_file_asks_for_benchmarks_too(project: Project, ini: Ini) -> None:
    project.write(TESTS.format(marker=""))
    ini.write(llm_bench=True)

    assert FORCED in project.usage_error(*RERUNNING, "--force-reruns=2")


def test_without_benchmarks_they_are_not_our_business(project: Project) -> None:
    project.write("def test_ordinary(): assert False")

    result = project.run(*RERUNNING, "--force-reruns=2", f"--llm-model={project.model}")

    result.assert_outcomes(failed=1)
    assert "2 rerun" in result.outlines[-1]


@pytest.mark.slow
def test_nothing_is_missed_without_the_plugin(worker: Project) -> None:
    worker.write(TESTS.format(marker=""))

    # In a process of its own, since pytest forgets no marker that it has once known.
    result = worker.pytester.runpytest_subprocess(
        "-p", "no:rerunfailures", "--strict-markers", *worker.measuring()
    )

    result.assert_outcomes(failed=4)
