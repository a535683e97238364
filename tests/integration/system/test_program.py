"""Programs that make a build end with the process that wanted it."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.waiting import pid_in

if TYPE_CHECKING:
    from pathlib import Path

# Runs a command as a build's maker does.
MAKER = """
import os, sys
from pathlib import Path

from pytest_llm.system.program import Running

log, command = Path(sys.argv[1]), sys.argv[2:]
Running("it", log, os.open(os.devnull, os.O_RDONLY), print)(command)
"""
# Starts a program in a process group of its own, as ninja does, and waits for it.
NINJA = """
import os, subprocess, sys
from pathlib import Path

compiler = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], preexec_fn=os.setpgrp)
Path(sys.argv[1]).write_text(str(compiler.pid))
compiler.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ninja is asked to end its compilers")
def test_a_compiler_in_a_process_group_of_its_own_ends_with_its_killed_maker(tmp_path: Path) -> None:
    started = tmp_path / "started"
    ninja = [sys.executable, "-c", NINJA, str(started)]
    with subprocess.Popen([sys.executable, "-c", MAKER, str(tmp_path / "log"), *ninja]) as maker:
        try:
            compiler = psutil.Process(pid_in(started))
        finally:
            maker.kill()
    deadline = time.monotonic() + 10
    while not is_gone(compiler):
        assert time.monotonic() < deadline, "the compiler goes on"
        time.sleep(0.02)


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
