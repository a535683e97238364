"""``pytest-llm models``: what there is, and one name more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main
from tests import tiny_models

if TYPE_CHECKING:
    from pathlib import Path


class Models:
    """The commands of the group, in a folder."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._captured = captured

    def __call__(self, *words: str) -> tuple[int, str]:
        """Return the exit status and what was printed."""
        status = main(["models", *words, "--cache", str(self.folder / "cache")])
        out, err = self._captured.readouterr()
        return status, out + err

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json")[1])


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Models:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    tiny_models.llama(tmp_path / "own.gguf")
    return Models(tmp_path, capsys)


def test_a_file_gets_a_name_and_a_pin(models: Models) -> None:
    status, said = models("pin", "own", "own.gguf")
    assert (status, "own is pinned in" in said) == (0, True)
    listed = {each["name"]: each for each in models.json("list")["models"]}
    assert (listed["own"]["state"], listed["own"]["source"]) == ("here", "own.gguf")
    assert models("verify", "own")[0] == 0
    (models.folder / "own.gguf").write_bytes(b"GGUF other")
    status, said = models("verify", "own")
    assert status == 1
    assert "but" in said
    assert "is pinned" in said


def test_a_name_is_given_once_and_what_stood_in_the_file_stays(models: Models) -> None:
    file = models.folder / "pyproject.toml"
    file.write_text("[project]\nname = 'x'")
    assert models("pin", "v1.5", "own.gguf")[0] == 0
    assert file.read_text().startswith("[project]\nname = 'x'\n\n[tool.pytest_llm.models.\"v1.5\"]\n")
    status, said = models("pin", "v1.5", "own.gguf")
    assert status == 2
    assert "v1.5 is own.gguf already" in said
    assert models("pin", "second", "own.gguf")[0] == 0
    assert {"v1.5", "second"} <= {each["name"] for each in models.json("list")["models"]}


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("pin", "a/b", "own.gguf"), 2, "cannot be the name of a model"),
        (("pin", "a", "none.gguf"), 1, "there is no such file"),
        (("pin", "a", "ftp://x/m.gguf"), 2, "unknown scheme 'ftp'"),
        (("fetch", "nothing"), 1, "unknown model 'nothing'"),
        (("verify", "hf:a/b/c.gguf"), 1, "what is not pinned is never fetched"),
        (("make", "own.gguf", "Q99", "x.gguf"), 2, "Q99 is no type of weights"),
        (("make", "own.gguf", "F16", "own.gguf"), 2, "own.gguf exists"),
        (("make", "own.gguf", "F16", "x.bin"), 2, "does not end with .gguf"),
    ],
)
def test_what_cannot_be_is_one_line(models: Models, words: tuple[str, ...], status: int, told: str) -> None:
    found, said = models(*words)
    assert found == status
    assert told in said
    assert "\n" not in said.strip()
    assert not (models.folder / "pyproject.toml").exists()
