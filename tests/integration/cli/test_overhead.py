"""``pytest-llm overhead``: what makes no sense is one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main

if TYPE_CHECKING:
    from tests.integration.conftest import Project


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("llama-server",), "name a tool, and llama-server with --against"),
        (
            ("ollama", "--against", "openai@http://127.0.0.1:9"),
            "name a tool, and llama-server with --against",
        ),
        (("ollama", "--load", "n_ctxx=1"), "unknown load option 'n_ctxx'"),
        (("ollama", "--prompt", "0"), "prompt_tokens=0"),
        (("http://127.0.0.1:11434",), "a server that runs is ollama@http://127.0.0.1:11434"),
        (("http://127.0.0.1:1234",), "a server that runs is lmstudio@http://127.0.0.1:1234"),
        (("http://127.0.0.1:5000",), "a server that runs is textgen@http://127.0.0.1:5000"),
        (("http://127.0.0.1:8000",), "a server that runs is openai@http://127.0.0.1:8000"),
        (("llama3.1:8b",), "models are given with --llm-model ollama:llama3.1:8b"),
        (("ollama@llama3.1:8b",), "a model is given with --llm-model ollama:llama3.1:8b"),
        (("lmstudio:a/b",), "it is a model of LM Studio, not a build: models are given with --llm-model"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(project.path)
    tool, *more = words
    status = main(["overhead", tool, str(project.model), *more])
    out, err = capsys.readouterr()
    assert status == 2
    assert told in err
    assert (out, "\n" in err.strip()) == ("", False)


def test_a_server_in_the_place_of_a_model_is_answered_with_the_right_one(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    assert main(["overhead", "ollama", "http://127.0.0.1:11434"]) == 2
    assert (
        "a server that runs is a build: --llm-candidate ollama@http://127.0.0.1:11434"
        in capsys.readouterr().err
    )
