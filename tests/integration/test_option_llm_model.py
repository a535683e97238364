"""``--llm-model`` names what tests run on that name no model."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Ini, Project

BENCHMARKS = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload()
    def test_marked_without_a_name():
        pass

    @pytest.mark.llm_workload()
    def test_unmarked():
        pass
"""


@pytest.fixture(autouse=True)
def _benchmarks(project: Project) -> None:
    project.write(BENCHMARKS)


@pytest.fixture
def models(project: Project) -> Path:
    """A folder with two models, in the project."""
    folder = project.path / "models"
    folder.mkdir()
    for name in ("one.gguf", "two.gguf"):
        shutil.copy(project.model, folder / name)
    return folder


def _models(project: Project, plan: list[str]) -> list[str]:
    names = [line.split(" on ")[0].strip() for line in plan if " on llama-cpp-python" in line]
    return [str(project.path / name) if name.endswith(".gguf") else name for name in names]


def test_works_on_the_command_line(project: Project, models: Path) -> None:
    plan = project.plan(f"--llm-model={models / 'one.gguf'}")

    assert _models(project, plan) == [str(models / "one.gguf")] * 2


def test_may_be_repeated(project: Project, models: Path) -> None:
    result = project.run(
        "--llm-bench", "--collect-only", "-q", "--llm-model=models/one.gguf", "--llm-model=models/two.gguf"
    )

    result.stdout.fnmatch_lines(
        ["*test_marked_without_a_name?one?", "*test_marked_without_a_name?two?", "*test_unmarked?one?"]
    )


def test_takes_a_catalogue_name(project: Project) -> None:
    assert _models(project, project.plan("--llm-model=smollm2-135m")) == ["smollm2-135m"] * 2


@pytest.mark.slow
def test_a_relative_path_in_a_file_starts_from_the_file(
    project: Project, models: Path, ini: Ini, monkeypatch: pytest.MonkeyPatch
) -> None:
    ini.write(llm_model=["models/one.gguf"])
    monkeypatch.chdir(models)

    assert set(_models(project, project.plan(".."))) == {str(models / "one.gguf")}


def test_a_relative_path_on_the_command_line_starts_from_the_working_folder(
    project: Project, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("[pytest]", "pytest.ini")
    monkeypatch.chdir(models)

    assert set(_models(project, project.plan("..", "--llm-model=one.gguf"))) == {str(models / "one.gguf")}


def test_a_test_that_names_its_model_is_not_asked(project: Project, models: Path) -> None:
    project.write(
        """
        @pytest.mark.llm_model("models/one.gguf")
        @pytest.mark.llm_workload()
        def test_named():
            pass
        """
    )

    assert _models(project, project.plan("--llm-model=models/two.gguf")) == [str(models / "one.gguf")]


def test_without_any_model_the_test_says_how_to_name_one(project: Project) -> None:
    result = project.run("--llm-bench")

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["no model: name one in the llm_model marker, or give --llm-model NAME_OR_FILE"]
    )


def test_an_unknown_name_is_one_line_with_the_nearest(project: Project) -> None:
    line = project.usage_error("--llm-bench", "--llm-model=smollm2-153m")

    assert "unknown model 'smollm2-153m': did you mean smollm2-135m?" in line


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("https://example.org/tiny.gguf", "a URL is not downloaded"),
        ("org/tiny-GGUF:Q4_0", "a repository of Hugging Face is not downloaded"),
        ("llama3.2:1b", "a model of Ollama is not downloaded"),
    ],
)
def test_a_name_of_another_tool_is_answered_as_such(project: Project, name: str, kind: str) -> None:
    line = project.usage_error("--llm-bench", f"--llm-model={name}")

    assert f"--llm-model: model {name!r}: there is no such file, and {kind}: " in line


def test_a_path_without_a_file_is_one_line(project: Project) -> None:
    line = project.usage_error("--llm-bench", "--llm-model=./nothing.gguf")

    assert f"{project.path / 'nothing.gguf'}: there is no such file" in line
