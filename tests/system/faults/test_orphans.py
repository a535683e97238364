"""No worker outlives the process that started it, whatever either of them is doing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

import psutil
import pytest

from .preload import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.records import Model

    from .conftest import Start

# Seconds that a worker may live on.
GRACE = 3.0
PATIENCE = 120.0

# Starts a worker in its main thread, as pytest does, and asks it to work; says how far it is.
PARENT = """
import sys, threading, time
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.records import Installed, LoadOptions, Model, Subject, Venv, Workload

doing, path, where = sys.argv[1:]
build = Venv("llama-cpp-python", where) if where else Installed("llama-cpp-python")
model = Model("m", path, "", 0, "", "", 0, 0, 0, 0, 0, 0, 0)
loaded = LlamaCppPython(build, 600.0).start(Subject("m", build, LoadOptions(n_ctx=8192)), model)
loaded.load()
print(loaded.pid, flush=True)
if doing != "waits":
    work = Workload(prompt_tokens=16, generate_tokens=8000)
    threading.Thread(target=loaded.rehearse, args=(work,), daemon=True).start()
while doing == "hangs" and "hangs" not in loaded.log():
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(600)
"""

# Stands between a worker and its parent and lives on, so that the parent-death signal never comes.
BETWEEN = f"""#!{sys.executable}
import os, subprocess, sys

*options, folder, requests, answers, _, sandbox = sys.argv[1:]
ends = int(requests), int(answers)
command = [sys.executable, *options, folder, requests, answers, str(os.getpid()), sandbox]
worker = subprocess.Popen(command, pass_fds=ends)
for end in ends:
    os.close(end)
worker.wait()
"""


class Adopt(Protocol):
    """Starts a parent whose worker "waits", "decodes" or "hangs"; both are gone after the test."""

    def __call__(
        self, doing: str, *, between: bool = False
    ) -> tuple[subprocess.Popen[str], psutil.Process]: ...


@pytest.fixture
def adopt(smollm2: Model, library: Path, tmp_path: Path) -> Iterator[Adopt]:
    with ExitStack() as stack:

        def adopt(doing: str, *, between: bool = False) -> tuple[subprocess.Popen[str], psutil.Process]:
            where = str(_environment_between(tmp_path)) if between else ""
            fault = Fault(hang=True, begin=8).environment(library) if doing == "hangs" else {}
            parent = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PARENT, doing, smollm2.path, where],
                    env={**os.environ, **fault},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(parent.kill)
            assert parent.stdout is not None
            worker = psutil.Process(int(next(parent.stdout)))
            stack.callback(_kill, worker)
            if between:
                (worker,) = worker.children()
                stack.callback(_kill, worker)
            assert next(parent.stdout) == "ready\n"
            if doing == "decodes":
                spent = worker.cpu_times().user
                assert _until(lambda: worker.cpu_times().user > spent + 0.2, PATIENCE)
            return parent, worker

        yield adopt


def _environment_between(folder: Path) -> Path:
    interpreter = folder / "between" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(BETWEEN)
    interpreter.chmod(0o755)
    return folder / "between"


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def _until(happened: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _gone(process: psutil.Process) -> bool:
    # Whoever inherits an orphan may take its time to clean it up.
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.parametrize("between", [False, True], ids=["", "without the parent-death signal"])
@pytest.mark.parametrize("doing", ["waits", "decodes", "hangs"])
def test_a_worker_ends_with_its_killed_parent_while_it(doing: str, between: bool, adopt: Adopt) -> None:
    parent, worker = adopt(doing, between=between)
    assert not _gone(worker)
    parent.kill()
    assert _until(lambda: _gone(worker), GRACE)


def test_a_stopped_worker_ends_with_its_killed_parent(adopt: Adopt) -> None:
    # No thread of its own can run; only the kernel can end it.
    parent, worker = adopt("decodes")
    worker.suspend()
    parent.kill()
    assert _until(lambda: _gone(worker), GRACE)


def test_a_worker_ends_with_the_thread_that_started_it(start: Start) -> None:
    # Linux's parent-death signal follows the thread. So workers are started from the main thread, always.
    started: list[LoadedModel] = []
    thread = threading.Thread(target=lambda: started.append(start(load=False)))
    thread.start()
    thread.join()
    assert _until(lambda: not started[0].alive, GRACE)


def test_a_worker_outlives_other_threads(start: Start) -> None:
    loaded = start(load=False)
    thread = threading.Thread(target=loaded.log)
    thread.start()
    thread.join()
    assert not _until(lambda: not loaded.alive, 0.5)


def test_the_plugin_starts_workers_from_the_main_thread(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import threading
        from pytest_llm.engines.llama_cpp_python.process import WorkerProcess

        make = WorkerProcess.__init__

        def checked(self, *arguments):
            assert threading.current_thread() is threading.main_thread()
            print("a worker starts")
            make(self, *arguments)

        WorkerProcess.__init__ = checked
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.llm_model("smollm2-135m", n_ctx=256, n_threads=1)
        def test_talk(gguf_model):
            assert gguf_model.alive
        """
    )
    result = pytester.runpytest_subprocess("-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*a worker starts*"])
