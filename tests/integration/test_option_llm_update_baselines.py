"""``--llm-update-baselines`` writes baselines; what the modes do is in ``test_baselines``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.machine import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Ini, Project

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""


@pytest.fixture(autouse=True)
def _benchmark(project: Project) -> None:
    project.write(BENCHMARK)


def _file(project: Project) -> Path:
    return project.path / "baselines" / "machines" / fingerprint.fingerprint() / "test_it.py.json"


def test_writes_nothing_by_default(project: Project) -> None:
    project.measure()

    assert not (project.path / "baselines").exists()


@pytest.mark.parametrize("mode", ["new", "append", "replace"])
def test_works_on_the_command_line(project: Project, mode: str) -> None:
    result = project.measure(f"--llm-update-baselines={mode}")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"baselines of 1 test written to {project.path / 'baselines'}"])
    assert _file(project).is_file()


def test_an_ini_file_that_says_so_does_not_hinder_other_runs(project: Project, ini: Ini) -> None:
    ini.write(llm_update_baselines="append")

    project.run().assert_outcomes(skipped=1)


def test_is_refused_where_nothing_is_measured(project: Project) -> None:
    assert "add --llm-bench" in project.usage_error("--llm-update-baselines=new")


def test_ci_never_writes_a_baseline(project: Project, ini: Ini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    told = project.usage_error(*project.measuring(), "--llm-update-baselines=append")
    assert "CI never writes a baseline" in told
    assert "pytest-llm baselines accept" in told
    ini.write(llm_update_baselines="append")
    assert "CI never writes a baseline" in project.usage_error(*project.measuring())
    assert not (project.path / "baselines").exists()


@pytest.mark.parametrize("value", ["false", "0", "no", ""])
def test_ci_that_says_no_is_no_ci(project: Project, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    project.write("@pytest.mark.llm_no_regression()\ndef test_speed(llm_bench): pass")
    monkeypatch.setenv("CI", value)

    project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)

    assert (project.path / "baselines").exists()


def test_an_unknown_mode_is_one_line_with_the_nearest(project: Project) -> None:
    told = project.usage_error(*project.measuring(), "--llm-update-baselines=apend")

    assert "unknown --llm-update-baselines 'apend': did you mean append?" in told


def test_what_cannot_be_written_is_one_line_beside_pytests_own_report(project: Project) -> None:
    (project.path / "baselines").mkdir()
    (project.path / "baselines" / "machines").touch()

    result = project.measure("--llm-update-baselines=append", "--llm-json=results.json")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes(passed=1)
    (line,) = (line for line in result.outlines if str(project.path / "baselines" / "machines") in line)
    assert "is" in line
    result.stdout.fnmatch_lines(["results in *results.json"])
