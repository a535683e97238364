"""Faults of a whole run: signals, full and read-only disks, clocks that jump."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import Fault, fault, faults
from tests.integration.conftest import WITHOUT, Project
from tests.integration.worker.test_processes import _heed_ctrl_c

if TYPE_CHECKING:
    from tests.integration.conftest import StandIn

TWO = """
    @pytest.mark.parametrize("number", [1, 2])
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed(number):
        pass

    def test_else():
        pass
"""
_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGKILL: "SIGKILL"}
_THEN = "its workers end, no lock is left, the results file is whole, and the next run is green"


def _started(project: Project, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            *WITHOUT,
            *project.measuring(),
            "--llm-json=results.json",
            *arguments,
        ],
        cwd=project.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_heed_ctrl_c,
    )


@pytest.mark.slow
@faults([Fault(f"{name} while pytest measures", _THEN) for name in _NAMES.values()])
@faults([Fault("Ctrl-C twice while pytest measures", _THEN)])
@pytest.mark.parametrize(
    "sent", [[each] for each in _NAMES] + [[signal.SIGINT] * 2], ids=lambda sent: "-".join(map(str, sent))
)
def test_a_run_that_is_ended_leaves_nothing_behind(
    sent: list[signal.Signals], project: Project, stand_in: StandIn
) -> None:
    project.write(TWO)
    stand_in.set(decode_sleep=0.05)
    with _started(project) as process:
        try:
            # The first session is stored, the second one runs.
            assert stand_in.wait_for(lambda found: len(found.pids()) > 1, seconds=30)
            for each in sent:
                process.send_signal(each)
                time.sleep(0.02)
            assert stand_in.wait_for(lambda found: not found.alive(), seconds=5)
            process.communicate(timeout=20)
        finally:
            process.kill()

    path = project.path / "results.json"
    if path.exists():
        json.loads(path.read_text(encoding="utf-8"))
    stand_in.set(decode_sleep=0)
    project.measure("--llm-json=results.json").assert_outcomes(passed=3)
    assert [each.name for each in project.path.glob(".*") if each.name.startswith(".pytest-llm")] == []


def _limit_files(project: Project, size: int) -> None:
    project.write(
        f"""
        import os, resource, sys

        def pytest_sessionstart():
            sys.dont_write_bytecode = True  # the limit would cut it off, and later runs would read it
            del os.environ["LLAMA_STAND_IN_DIARY"]  # which the limit would stop as well
            resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
        """,
        "conftest.py",
    )


@pytest.mark.slow
@fault(
    "a full disk, when results are written", "one line that says so; what was stored is kept, the tests pass"
)
def test_a_full_disk_keeps_the_results_so_far(project: Project, stand_in: StandIn) -> None:
    project.write(TWO)
    path = project.path / "results.json"
    _limit_files(project, 2000)

    done = project.run_apart(*project.measuring(), "--llm-json=results.json")

    assert "3 passed" in done.stdout, done.stdout
    assert "results.json cannot be written (File too large)" in done.stdout
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert not json.loads(path.read_text(encoding="utf-8"))["finished"]
    assert [each.name for each in project.path.iterdir() if "results" in each.name] == ["results.json"]


@pytest.mark.slow
@fault("a folder that cannot be written, for results", "one line that says so; the tests pass")
def test_a_folder_that_cannot_be_written_is_one_line(project: Project, stand_in: StandIn) -> None:
    project.write(TWO)

    done = project.run_apart(*project.measuring(), "--llm-json=/proc/results.json")

    assert "/proc/results.json cannot be written" in done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.USAGE_ERROR


@pytest.mark.slow
@fault(
    "a wall clock that jumps by years while pytest measures", "nothing: times are taken with another clock"
)
@pytest.mark.parametrize("jump", [-1e9, pytest.param(1e9, marks=pytest.mark.slow)])
def test_a_clock_that_jumps_changes_nothing(jump: float, project: Project, stand_in: StandIn) -> None:
    project.write(TWO)
    project.write(
        f"""
        import itertools, time

        real, jumps = time.time, itertools.count()
        time.time = lambda: real() + {jump} * next(jumps)
        """,
        "conftest.py",
    )

    done = project.run_apart(*project.measuring(), "--llm-json=results.json")

    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert json.loads((project.path / "results.json").read_text(encoding="utf-8"))["finished"]


@fault(
    "a worker that dies beside a functional test",
    "the test fails with the cause, the next one gets a new worker",
)
def test_other_tests_are_unharmed(project: Project, stand_in: StandIn) -> None:
    project.write(
        """
        import os, signal

        def test_dies(gguf_model):
            os.kill(gguf_model.pid, signal.SIGSEGV)
            gguf_model.generate("hello", max_tokens=2)

        def test_lives(gguf_model):
            assert gguf_model.generate("hello", max_tokens=2).text == "fg"
        """
    )

    result = project.measure("--llm-none-measured=warn")

    result.assert_outcomes(passed=1, failed=1)
    assert "SIGSEGV, a crash inside llama.cpp" in Project.texts(result)["test_dies"]


def test_more_log_probabilities_than_an_answer_may_have_are_refused(project: Project) -> None:
    project.write(
        """
        from pytest_llm.errors import UsageError

        def test_many(gguf_model):
            with pytest.raises(UsageError, match="lower k, or give a shorter prompt"):
                gguf_model.top_logprobs("hello", k=10**9)
        """
    )

    project.measure("--llm-none-measured=warn").assert_outcomes(passed=1)
