"""``pytest-llm agree``: an adapter against the stand-in, which is as expected or lies about one thing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main
from tests.ollama_server import VERSION, Script, answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Project

    Agree = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server() -> Iterator[Script]:
    with answering() as found:
        yield found


@pytest.fixture
def agree(
    server: Script, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Agree:
    monkeypatch.chdir(project.path)
    (project.path / "pytest.ini").write_text("[pytest]\n")

    def run(*words: str, tool: str = "") -> tuple[int, str, str]:
        cache = str(project.path / "cache")
        status = main(["agree", tool or f"ollama@{server.url}", str(project.model), "--cache", cache, *words])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_a_tool_that_is_as_expected_agrees(server: Script, agree: Agree) -> None:
    status, out, _ = agree("--json")
    document = json.loads(out)
    assert document["checks"][0]["told"] == f"ollama {VERSION}"
    others = [each for each in document["checks"] if not each["agrees"]]
    # The stand-in counts words, and the tiny model has a vocabulary of its own.
    assert [each["name"] for each in others] in ([], ["tokens of a text"])
    assert status == len(others)
    assert server.models == {}
    assert server.loaded == {}


@pytest.mark.parametrize(
    ("change", "name", "told"),
    [
        ({"short": 1, "reason": "stop"}, "a streamed answer", "stopped after 23 of 24 tokens"),
        ({"loads": 1.4}, "a streamed answer", "loaded the model again"),
        ({"context": 4096}, "load", "a context of 4096 tokens"),
        ({"status": {"/api/version": (404, "page not found")}}, "version", "answered 404"),
        ({"error": "unexpected EOF"}, "tokens of a text", "unexpected EOF"),
    ],
)
def test_what_differs_is_named(
    server: Script, agree: Agree, change: dict[str, object], name: str, told: str
) -> None:
    for key, value in change.items():
        setattr(server, key, value)
    status, out, _ = agree()
    assert status == 1
    (line,) = (line for line in out.splitlines() if line.startswith(f"differs {name}: "))
    assert told in line
    assert "differs in " in out.splitlines()[-1]


def test_a_model_that_is_left_behind_is_named(
    server: Script, agree: Agree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.engines.ollama.engine.Ollama.close", lambda _: None)
    status, out, _ = agree()
    assert status == 1
    assert "differs what it has afterwards: pytest-llm-" in out


def test_what_is_measured_in_a_process_of_its_own_is_no_tool(agree: Agree) -> None:
    status, _, err = agree(tool="llama-cpp-python")
    assert status == 2
    assert "is measured in a process of its own: name a tool, such as ollama" in err
