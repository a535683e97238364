"""Two runs of pytest at once: the second one waits until the first has measured, or is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Project, StandIn

pytestmark = pytest.mark.slow
BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""
PATIENCE = 60.0


class Run:
    """A run of pytest beside us, and what it has written so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def told(self, start: str) -> str:
        """Wait for a line that begins so, and return it."""

        def found() -> list[str]:
            return [line for line in self.lines if line.startswith(start)]

        with self._changed:
            assert self._changed.wait_for(found, PATIENCE), self.lines
        return found()[0]

    def end(self) -> int:
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status


@contextmanager
def _pytest(project: Project, *arguments: str) -> Iterator[Run]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=project.path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        run = Run(process)
        try:
            yield run
        finally:
            process.kill()
            run.end()


@pytest.fixture
def runs(
    project: Project,
    stand_in: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Run, Run]]:
    """One that measures for a long time, and one that was started meanwhile and waits."""
    monkeypatch.setenv("PYTEST_LLM_LOCK", str(tmp_path_factory.mktemp("lock") / "lock"))
    project.write(BENCHMARK)
    with ExitStack() as stack:
        stand_in.set(decode_sleep=0.02)
        first = stack.enter_context(_pytest(project, *project.measuring()))
        assert stand_in.wait_for(lambda found: bool(found.pids()), PATIENCE)
        stand_in.set(decode_sleep=0)
        second = stack.enter_context(_pytest(project, *project.measuring(), "--llm-aa"))
        second.told("  waiting: ")
        yield first, second


def test_the_second_waits_and_says_for_whom_and_then_measures(
    runs: tuple[Run, Run], project: Project
) -> None:
    first, second = runs

    waiting = second.told("  waiting: ")
    assert f"another run measures on this machine: process {first.process.pid} (python" in waiting
    assert " -m pytest --llm-bench " in waiting
    assert waiting.endswith(": waiting up to 900 s")
    assert not any(": session" in line for line in second.lines)
    assert first.process.poll() is None
    assert (first.end(), second.end()) == (0, 0)
    assert any("session 6 of 6" in line or "session 7 of 7" in line for line in second.lines)


def test_a_holder_that_is_killed_frees_it(runs: tuple[Run, Run], stand_in: StandIn) -> None:
    first, second = runs

    first.process.send_signal(signal.SIGKILL)

    assert second.end() == 0
    assert first.end() == -signal.SIGKILL
    assert stand_in.alive() == []


def test_functional_tests_wait_for_nobody(runs: tuple[Run, Run], project: Project) -> None:
    first, _ = runs
    project.write("def test_talk(gguf_model): pass", "test_talk.py")

    with _pytest(project, *project.measuring()[1:], "test_talk.py") as other:
        assert other.end() == 0
    assert first.process.poll() is None
