"""``--llm-baselines`` says where baselines are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression()
    def test_speed():
        pass
"""


@pytest.fixture(autouse=True)
def _benchmark(project: Project) -> None:
    project.write(BENCHMARK)


def _record(project: Project, *arguments: str) -> None:
    project.measure("--llm-update-baselines=append", *arguments).assert_outcomes(passed=1)


def _was_used(folder: Path) -> bool:
    return any(folder.glob("machines/*/test_it.py.json")) and any(folder.glob("portable/test_it.py.json"))


def test_is_beside_the_ini_file_by_default(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("[pytest]\n", "pytest.ini")
    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")

    _record(project, "..")

    assert _was_used(project.path / "baselines")


def test_is_in_the_root_folder_where_there_is_no_ini_file(project: Project) -> None:
    _record(project)

    assert _was_used(project.path / "baselines")


def test_works_on_the_command_line(project: Project) -> None:
    _record(project, "--llm-baselines=kept")

    assert _was_used(project.path / "kept")
    assert not (project.path / "baselines").exists()


def test_what_is_recorded_there_is_compared_with(project: Project) -> None:
    _record(project, "--llm-baselines=kept")

    project.measure("--llm-baselines=kept").stdout.fnmatch_lines(["*1 of 5 runs"])
    project.measure().stdout.fnmatch_lines(["*no baseline, *"])


def test_nothing_is_made_where_nothing_is_recorded(project: Project) -> None:
    project.measure()

    assert not (project.path / "baselines").exists()


def test_a_file_is_refused_in_one_line(project: Project) -> None:
    (project.path / "file").touch()

    assert "--llm-baselines" in project.usage_error(*project.measuring(), "--llm-baselines=file")
