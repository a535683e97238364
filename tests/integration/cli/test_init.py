"""``pytest-llm init``: what it refuses, and that it leaves nothing behind; a system test measures with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main
from pytest_llm.cli.first_suite import FirstSuite, limits_of
from pytest_llm.plugin.suite_tables import read_suite
from tests import tiny_models

if TYPE_CHECKING:
    from pathlib import Path


def init(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(["init", *words])
    out, err = capsys.readouterr()
    return status, out + err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_the_only_model_of_a_folder_is_taken_and_none_or_two_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "has 0 models: name one" in init(folder, capsys)[1]
    for name in ("a.gguf", "b.gguf"):
        tiny_models.llama(folder / name)
    status, said = init(folder, capsys)
    assert status == 2
    assert "has 2 models: a.gguf, b.gguf: name one" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("a.gguf", "--output", "x.toml"), "does not end with .llm.toml"),
        (("a.gguf", "--output", "there.llm.toml"), "exists: name another file"),
        (("none.gguf",), "there is no such file"),
        (("nothing",), "unknown model 'nothing'"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    tiny_models.llama(folder / "a.gguf")
    (folder / "there.llm.toml").write_text("")
    status, said = init(folder, capsys, *words)
    assert status == 2
    assert told in said
    assert "\n" not in said.strip()
    assert [each.name for each in folder.glob("*.toml")] == ["there.llm.toml"]


def test_a_model_that_cannot_be_measured_leaves_no_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_models.llama(folder / "a.gguf")
    status, said = init(folder, capsys, "--candidate", "venv:/nowhere")
    assert status == 1
    assert "could not be measured: " in said
    assert not list(folder.glob("*.llm.toml"))


@pytest.mark.parametrize("context", [0, 64, 512, 131072])
def test_the_file_can_be_read_and_holds_its_workloads(tmp_path: Path, context: int) -> None:
    text = FirstSuite('m "x".gguf', context, ("About it.",)).text({"chat": {"peak_ram": "3 GiB"}})
    file = tmp_path / "speed.llm.toml"
    file.write_text(text)
    chat, long = read_suite(file)
    assert (chat.problem, long.problem) == ("", "")
    assert any(each.keywords == {"max": "3 GiB"} for each in chat.marks)
    assert limits_of(()) == {}
