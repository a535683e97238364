"""Folders of locked-in processes: removed whatever is in them, also those of runs that were killed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.system.sandbox import own_folder, remove_folder

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux locks processes in")


def test_folders_of_killed_processes_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive, link = (
        tmp_path / f"x-{ended.pid}-a",
        tmp_path / f"x-{os.getpid()}-b",
        tmp_path / f"x-{ended.pid}-c",
    )
    for folder in (dead, alive):
        (folder / "in").mkdir(parents=True)
    link.symlink_to(alive)
    made = own_folder(tmp_path, "x-")
    assert {each.name for each in tmp_path.iterdir()} == {alive.name, link.name, made.name}
    assert (alive / "in").exists()


def test_a_folder_of_any_depth_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "deep"
    top.mkdir()
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        for _ in range(3000):
            os.mkdir("d")  # noqa: PTH102 - the path is longer than any may be
            os.chdir("d")
    finally:
        os.fchdir(before)
        os.close(before)
    try:
        remove_folder(top)
        assert not top.exists()
    finally:  # pytest itself could not
        subprocess.run(["rm", "-rf", str(top)], check=True)
