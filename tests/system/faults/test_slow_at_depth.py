"""A build that is slow at depth alone is caught by a workload with depth, in the whole chain of a comparison.

That the same fault slows nothing without depth is shown by ``test_only_graphs_deeper_than_told_are_slowed``.
"""

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
    pytest.mark.llm_model("smollm2-135m", n_ctx=512, n_threads=1),
    pytest.mark.llm_no_regression("generation_tokens_per_second"),
]

@pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=8, depth=256)
def test_speed():
    pass
"""
# llama.cpp attends to multiples of 256 positions: a workload without depth to 256, this one to 512.
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
def test_a_workload_with_depth_catches_a_build_that_is_slow_there_alone(
    pytester: pytest.Pytester, library: Path, tmp_path: Path
) -> None:
    pytester.makepyfile(test_inner=SOURCE)
    slow = environment_with(FAULT, library, tmp_path / "slow")

    result, results = measure(pytester, f"--llm-candidate=venv:{slow}", "--llm-against=llama-cpp-python")

    (test,) = results["tests"]
    comparison = test["metrics"]["generation_tokens_per_second"]["comparison"]
    assert (test["workload"]["depth"], comparison["verdict"]) == (256, "regressed")
    assert comparison["change"] < -0.15
    result.assert_outcomes(failed=1)
    assert results["candidate"]["environment"]["GGML_FAULT_DEEPER_THAN"] == "256"
    assert "GGML_FAULT_DEEPER_THAN" not in results["reference"]["environment"]
