"""Twenty of the kills of ``benchmarks/kills.py``: five of each job."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import TESTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="orphans can be counted only on Linux"),
]


@pytest.mark.parametrize("job", ["run", "build", "download", "bisect"])
def test_what_is_killed_leaves_no_process_no_lock_and_no_half_file(job: str) -> None:
    command = [sys.executable, "-m", "benchmarks.kills", "--number=5", f"--jobs={job}"]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kills, 0 of them left something wrong" in done.stdout
