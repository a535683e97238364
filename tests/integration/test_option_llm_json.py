"""``--llm-json`` says where the results go; what they hold is in ``test_results``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_llm.reports import results

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


def _are_results(path: Path) -> bool:
    return bool(json.loads(path.read_text(encoding="utf-8"))["tests"])


def test_nothing_is_written_by_default(project: Project) -> None:
    project.measure()

    assert not list(project.path.rglob("*.json"))


def test_works_on_the_command_line(project: Project) -> None:
    result = project.measure("--llm-json=found.json")

    assert _are_results(project.path / "found.json")
    result.stdout.fnmatch_lines([f"results in {project.path / 'found.json'}"])


def test_makes_the_folder(project: Project) -> None:
    project.measure("--llm-json=a/b/found.json")

    assert _are_results(project.path / "a" / "b" / "found.json")


def test_a_relative_path_starts_from_where_it_was_written(
    project: Project, ini: Ini, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")

    ini.write(llm_json="from-the-file.json")
    project.measure("..")
    project.measure("..", "--llm-json=from-the-shell.json")

    assert _are_results(project.path / "from-the-file.json")
    assert _are_results(project.path / "below" / "from-the-shell.json")


def test_a_folder_is_refused_in_one_line(project: Project) -> None:
    (project.path / "folder").mkdir()

    assert "--llm-json" in project.usage_error(*project.measuring(), "--llm-json=folder")


def test_results_that_are_not_of_the_schema_are_one_red_line_and_no_finished_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "VERSION", 0)
    result = project.measure("--llm-json=r.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["no results: $.schema_version*"])
    assert not json.loads((project.path / "r.json").read_text(encoding="utf-8"))["finished"]
