"""``--llm-candidate`` names the build under test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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


def _plan(project: Project, *arguments: str) -> str:
    return "\n".join(project.plan(f"--llm-model={project.model}", *arguments))


def test_is_the_installed_build_by_default(project: Project) -> None:
    assert " on llama-cpp-python, n_ctx=" in _plan(project)


def test_works_on_the_command_line(project: Project, stand_in_environment: Path) -> None:
    plan = _plan(project, f"--llm-candidate=llama-cpp-python@venv:{stand_in_environment}")

    assert f" on llama-cpp-python@venv:{stand_in_environment}, " in plan


def test_a_place_alone_means_llama_cpp_python(project: Project, stand_in_environment: Path) -> None:
    plan = _plan(project, f"--llm-candidate=venv:{stand_in_environment}")

    assert f" on llama-cpp-python@venv:{stand_in_environment}, " in plan


def test_the_build_that_it_names_is_the_one_that_runs(worker: Project) -> None:
    results = worker.results()

    assert results["candidate"]["engine"] == "llama-cpp-python"
    assert results["candidate"]["version"] == "0.0.1"
    assert results["candidate"]["llama_cpp_commit"] == "57a9d1234"


@pytest.mark.slow
def test_a_relative_path_in_a_file_starts_from_the_file(
    project: Project, ini: Ini, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "builds" / "new").mkdir(parents=True)
    ini.write(llm_candidate="venv:builds/new")
    monkeypatch.chdir(project.path / "builds")

    assert f" on llama-cpp-python@venv:{project.path / 'builds' / 'new'}, " in _plan(project, "..")


def test_a_relative_path_on_the_command_line_starts_from_the_working_folder(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("[pytest]", "pytest.ini")
    (project.path / "builds" / "new").mkdir(parents=True)
    monkeypatch.chdir(project.path / "builds")

    plan = _plan(project, "..", "--llm-candidate=venv:new")

    assert f" on llama-cpp-python@venv:{project.path / 'builds' / 'new'}, " in plan


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        ("llama-cpp-pyhton", "unknown engine 'llama-cpp-pyhton': did you mean llama-cpp-python?"),
        ("https://example.org/llama.zip", "it is a URL, and builds are not downloaded from one"),
        (
            "org/tiny-GGUF",
            "it is a repository of Hugging Face, not a build: models are given with --llm-model",
        ),
        ("qwen:7b", "it is a model of Ollama, not a build: models are given with --llm-model"),
        ("models/tiny.gguf", "it is a file of weights, not a build: models are given with --llm-model"),
        ("b6097", "llama.cpp's numbers are tags of its repository: write git:b6097:CHECKOUT"),
        (".", "it is a path, and its kind must stand before it"),
        ("llama-cpp-python@venv:nowhere", "there is no folder"),
        ("llama-cpp-python@venv:", "is not a place of llama-cpp-python"),
        ("llama-cpp-python@moon:crater", "'moon:crater' is not a place of llama-cpp-python"),
    ],
)
def test_a_bad_build_is_one_line(project: Project, build: str, reason: str) -> None:
    assert reason in project.usage_error(f"--llm-candidate={build}")


def test_an_environment_without_an_interpreter_fails_the_test_in_one_line(project: Project) -> None:
    (project.path / "empty").mkdir()

    result = project.measure("--llm-candidate=venv:empty")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*empty/bin/python cannot be started*: give an environment with llama-cpp-python*"]
    )
