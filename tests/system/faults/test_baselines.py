"""Stored runs and a build that lost speed: real engine, real model, the words a user reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.golden import assert_golden

from .inner import failure_of, measure
from .preload import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping


GOLDEN = Path(__file__).parent / "golden"
# Wide, since a shared machine gives half its speed for a minute to another; ten times the time is far wider.
SOURCE = """
import pytest

@pytest.mark.llm_model("smollm2-135m", n_ctx=512, n_threads=1)
@pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=8)
@pytest.mark.llm_no_regression(tolerance="75%")
def test_speed(llm_bench):
    pass
"""
# The machine's own speed is left out, since a busy machine has no baseline.
ANY_SPEED = """
from pytest_llm.machine import control
control.measure_control = lambda threads: None
"""
SLOW = Fault(slowdown=9.0)


def verdicts(results: Mapping[str, Any]) -> set[str]:
    (test,) = results["tests"]
    return {metric["baseline"]["verdict"] for metric in test["metrics"].values() if metric["baseline"]}


@pytest.mark.timed
def test_five_runs_let_the_same_build_pass_and_call_one_ten_times_slower(
    pytester: pytest.Pytester, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_inner=SOURCE)
    pytester.makeconftest(ANY_SPEED)
    for _ in range(5):
        result, _ = measure(pytester, "--llm-update-baselines=append")
        result.assert_outcomes(passed=1)

    result, healthy = measure(pytester)
    result.assert_outcomes(passed=1)
    assert verdicts(healthy) <= {"pass", "inconclusive"}
    assert healthy["tests"][0]["drift"]["verdict"] == "pass"

    for name, value in SLOW.environment(library).items():
        monkeypatch.setenv(name, value)
    result, slow = measure(pytester)
    result.assert_outcomes(failed=1)
    assert verdicts(slow) == {"regressed"}
    shown = failure_of("test_speed", result.stdout.str())
    assert_golden(GOLDEN / "regressed.txt", shown)
