"""A build that is slow at depth alone: a workload with depth catches it, one without cannot."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from .inner import measure
from .preload import Fault

if TYPE_CHECKING:
    from pathlib import Path


SOURCE = """
import pytest

pytestmark = [
    pytest.mark.llm_model("smollm2-135m", n_ctx=1024, n_threads=1),
    pytest.mark.llm_no_regression("generation_tokens_per_second"),
]

@pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=8, depth=[0, 512])
def test_speed():
    pass
"""
# llama.cpp attends to multiples of 256 positions: the shallow workload to 256, the deep one to 768.
FAULT = Fault(slowdown=0.5, deeper_than=256)


def environment_with(fault: Fault, library: Path, folder: Path) -> Path:
    """Return what looks like another environment: the same interpreter, with a fault."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    given = [f"{name}={shlex.quote(value)}" for name, value in fault.environment(library).items()]
    # `env` itself must not be preloaded, nor the shell.
    python.write_text(f'#!/bin/sh\nexec env {" ".join(given)} {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return folder


@pytest.mark.timed
def test_a_workload_with_depth_catches_what_one_without_does_not_see(
    pytester: pytest.Pytester, library: Path, tmp_path: Path
) -> None:
    pytester.makepyfile(test_inner=SOURCE)
    slow = environment_with(FAULT, library, tmp_path / "slow")

    result, results = measure(pytester, f"--llm-candidate=venv:{slow}", "--llm-against=llama-cpp-python")

    verdicts = {
        test["workload"]["depth"]: test["metrics"]["generation_tokens_per_second"]["comparison"]["verdict"]
        for test in results["tests"]
    }
    assert verdicts[512] == "regressed"
    assert verdicts[0] in {"pass", "inconclusive"}
    result.assert_outcomes(passed=1, failed=1)
    assert results["candidate"]["environment"]["GGML_FAULT_DEEPER_THAN"] == "256"
    assert "GGML_FAULT_DEEPER_THAN" not in results["reference"]["environment"]
    changes = {
        test["workload"]["depth"]: test["metrics"]["generation_tokens_per_second"]["comparison"]["change"]
        for test in results["tests"]
    }
    assert changes[512] < -0.15 < changes[0]
