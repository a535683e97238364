"""The first suite of a model passes at once, and fails with a build of half the speed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .preload import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.records import Model


@pytest.mark.timed
def test_a_first_suite_passes_at_once_and_half_the_speed_fails(
    pytester: pytest.Pytester, smollm2: Model, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(smollm2.path, pytester.path / "model.gguf")
    pytester.makeini("[pytest]\nllm_effort = quick\n")
    command = [sys.executable, "-m", "pytest_llm.cli", "init"]
    done = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "speed.llm.toml has 2 tests, with limits 30 % looser than measured" in done.stdout
    again = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "exists: name another file with --output, or remove it" in again.stderr
    pytester.runpytest_subprocess("--llm-bench").assert_outcomes(passed=2)
    for name, value in Fault(slowdown=1.0).environment(library).items():
        monkeypatch.setenv(name, value)
    result = pytester.runpytest_subprocess("--llm-bench")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["generation speed is *, the limit is at least *"])
