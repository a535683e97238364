"""``--llm-cache`` says where fetched models are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Ini, Project

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""


@pytest.fixture(autouse=True)
def _benchmark(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(BENCHMARK)
    monkeypatch.setenv("PYTEST_LLM_CACHE", str(project.path / "environment"))


def _was_used(cache: Path) -> bool:
    """Whether the model's hash was remembered there."""
    return cache.is_dir() and any(cache.glob("verified/*.json"))


def test_is_what_the_environment_says_by_default(project: Project) -> None:
    project.measure()

    assert _was_used(project.path / "environment")


def test_is_the_users_cache_folder_where_nothing_is_said(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_LLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.path / "users"))

    project.measure()

    folder = Path(platformdirs.user_cache_dir("pytest-llm"))
    assert folder.is_relative_to(project.path)
    assert _was_used(folder)


def test_works_on_the_command_line(project: Project) -> None:
    project.measure("--llm-cache=kept")

    assert _was_used(project.path / "kept")
    assert not _was_used(project.path / "environment")


def test_a_relative_path_starts_from_where_it_was_written(
    project: Project, ini: Ini, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")

    ini.write(llm_cache="from-the-file")
    project.measure("..")
    project.measure("..", "--llm-cache=from-the-shell")

    assert _was_used(project.path / "from-the-file")
    assert _was_used(project.path / "below" / "from-the-shell")


def test_the_home_folder_may_be_written_as_a_tilde(project: Project) -> None:
    project.measure("--llm-cache=~/kept")

    assert _was_used(project.path / "kept")


def test_a_file_is_refused_in_one_line(project: Project) -> None:
    (project.path / "file").touch()

    assert "--llm-cache" in project.usage_error(*project.measuring(), "--llm-cache=file")
