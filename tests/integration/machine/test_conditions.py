"""The time of real processes."""

from __future__ import annotations

import subprocess
import sys

from pytest_llm.machine.conditions import System

BURN = """
import time
while time.process_time() < 0.3: pass
print(flush=True)
input()
"""


def test_the_time_of_children_is_ours_while_they_live_and_after() -> None:
    system = System()
    before = system.our_seconds()
    command = [sys.executable, "-c", BURN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert system.our_seconds() - before > 0.25
        child.communicate(b"\n")
    assert system.our_seconds() - before > 0.25
