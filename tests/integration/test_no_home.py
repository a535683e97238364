"""A user without a home folder: runs that measure nothing need none, others say what to name instead."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

import platformdirs
import pytest

from pytest_llm.cli import main

if TYPE_CHECKING:
    from tests.integration.conftest import Project

TESTS = """
    def test_ordinary(): pass

    @pytest.mark.llm_model(n_ctx=512, n_threads=1)
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    @pytest.mark.llm_no_regression()
    def test_speed(llm_bench): pass
"""
NAMED = "name a folder with --llm-cache, or set PYTEST_LLM_CACHE to one"


@pytest.fixture(
    autouse=True, params=[None, "", "relative"], ids=["no HOME", "an empty one", "a relative one"]
)
def _no_home(request: pytest.FixtureRequest, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("PYTEST_LLM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if request.param is not None:
        monkeypatch.setenv("HOME", request.param)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    project.write(TESTS)


def test_plain_pytest_needs_none(project: Project) -> None:
    project.run().assert_outcomes(passed=1, skipped=1)


@pytest.mark.slow
def test_the_plan_needs_none(project: Project) -> None:
    assert project.plan(f"--llm-model={project.model}")[0].startswith("llm-bench plan: 1 benchmark ")


def test_measuring_names_what_to_give(project: Project) -> None:
    assert NAMED in project.usage_error(*project.measuring())


def test_measuring_with_a_folder_works(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.measure("--llm-cache=cache").assert_outcomes(passed=2)
    monkeypatch.setenv("PYTEST_LLM_CACHE", str(project.path / "cache"))
    project.measure().assert_outcomes(passed=2)


def test_loading_a_model_names_what_to_give_and_other_tests_run(project: Project) -> None:
    project.write("def test_ordinary(): pass\ndef test_talk(gguf_model): pass")
    options = (f"--llm-candidate={project.candidate}", f"--llm-model={project.model}")

    result = project.run(*options)

    result.assert_outcomes(passed=1, errors=1)
    (text,) = project.texts(result).values()
    assert NAMED in text
    assert len(text.splitlines()) == 1


def test_no_folder_is_made_where_an_older_library_keeps_the_tilde(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")

    assert NAMED in project.usage_error(*project.measuring())
    assert not (project.path / "~").exists()


def test_a_path_that_begins_with_it_is_one_line(
    project: Project, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME", raising=False)

    line = project.usage_error("--llm-bench", "--llm-cache=~/cache")

    assert line.endswith("'~/cache': the home folder is unknown; write the full path")


def test_the_command_names_what_to_give(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)

    assert main(["builds", "list"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert NAMED in line
