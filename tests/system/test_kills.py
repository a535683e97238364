"""Twenty of the kills of ``benchmarks/kills.py``."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import TESTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="orphans can be counted only on Linux"),
]


@pytest.mark.parametrize(("job", "number"), [("run", 7), ("build", 6), ("download", 5), ("bisect", 2)])
def test_what_is_killed_leaves_no_process_no_lock_and_no_half_file(job: str, number: int) -> None:
    command = [sys.executable, "-m", "benchmarks.kills", f"--number={number}", f"--jobs={job}"]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{number} kills, 0 of them left something wrong" in done.stdout
