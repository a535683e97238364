"""``pytest-llm pin``: the pin of now, and the one at a commit."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IDENTITY = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., str]:
    """Git in a repository of its own, whose first commit pins 0.3.16, with 0.3.36 in the work tree."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *words],
            cwd=tmp_path,
            env={**os.environ, **IDENTITY},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    (tmp_path / "below").mkdir()
    pin = tmp_path / "below" / "requirements.txt"
    pin.write_text("llama-cpp-python==0.3.16\n", encoding="utf-8")
    git("add", ".")
    git("commit", "--quiet", "--message", "Pin")
    pin.write_text("llama-cpp-python==0.3.36\n", encoding="utf-8")
    return git


def test_it_is_read_from_the_work_tree_and_at_a_commit(
    git: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "below" / "requirements.txt")
    assert main(["pin", file]) == 0
    assert main(["pin", file, "--at", "main"]) == 0
    assert capsys.readouterr().out == "0.3.36\n0.3.16\n"
    assert main(["pin", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"pin": "0.3.36", "build": "0.3.36"}


def test_a_submodule_is_a_pin(
    git: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = git("rev-parse", "HEAD")
    git("submodule", "--quiet", "add", str(tmp_path), "vendor/llama.cpp")
    git("commit", "--quiet", "--message", "Add a submodule")
    folder = tmp_path / "vendor" / "llama.cpp"
    subprocess.run(
        ["git", "commit", "--quiet", "--allow-empty", "--message", "Go on"],
        cwd=folder,
        env={**os.environ, **IDENTITY},
        check=True,
    )
    assert main(["pin", str(folder), "--at", "main"]) == 0
    assert main(["pin", str(folder)]) == 0
    before, now = capsys.readouterr().out.splitlines()
    assert before == f"git:{first}:{folder}"
    assert now.startswith("git:")
    assert now != before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["below/requirements.txt", "--at", "nowhere"], "has no commit 'nowhere'"),
        (["below/requirements.txt", "--at", "--output=x"], "expected one argument"),
        (
            ["below/other.txt", "--at", "main"],
            "other.txt is not in main: name the file that holds the pin there",
        ),
        (["below/other.txt"], "below/other.txt cannot be read: "),
        (["pipe"], "pipe cannot be read"),
        (["below"], "below is no git repository that can be read"),
        (["below", "--at", "main"], "below is no submodule in main: name the file that holds the pin"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    git: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    assert main(["pin", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert len(err.splitlines()) == 1
