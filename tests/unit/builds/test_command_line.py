"""Command lines of servers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.builds.command_line import read_command
from pytest_llm.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_program_has_its_path_in_full_and_its_words_are_those_of_a_shell(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "llama-server"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    found = read_command("bin/llama-server -c 4096 --alias 'two words'", "llama-server", tmp_path)
    assert found == (str(program), "-c", "4096", "--alias", "two words")


def test_a_program_without_a_folder_is_the_one_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))  # noqa: PTH120
    name = os.path.basename(sys.executable)  # noqa: PTH119
    assert read_command(f"{name} -np 1", "llama-server", tmp_path) == (sys.executable, "-np", "1")


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("{python} --tools all", "--tools cannot be had, because it lets the model run programs"),
        ("{python} --tools=all", "--tools cannot be had"),
        ("{python} -ag", "-ag cannot be had, because it lets the model run programs"),
        ("{python} --mcp-config f", "--mcp-config cannot be had, because it lets the model run programs"),
        (
            "{python} --host 0.0.0.0",
            "--host cannot be had, because this run chooses where the server listens",
        ),
        ("{python} --api-key hush", "--api-key cannot be had, because the key would stand in reports"),
        ("{python} -hf some/model", "-hf names a model that is fetched: name a file with --llm-model"),
        ("llama-server-of-nobody -c 1", "there is no program llama-server-of-nobody on PATH"),
        ("./none -c 1", "there is no program ./none at "),
        ("{python} 'open", "cannot be read as a command line: No closing quotation"),
        ("", "cannot be read as a command line"),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line(written: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_command(written.format(python=sys.executable), "llama-server", tmp_path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
