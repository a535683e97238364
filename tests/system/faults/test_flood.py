"""Floods: a worker or a program that writes without end costs neither memory, nor disk, nor time."""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_llm.errors import EngineError, RequestFailedError, WorkerAnswerError, WorkerHungError
from pytest_llm.system.program import TimeLimitError, run_once
from tests.faults import fault
from tests.system.faults.scripted import start

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
MIB = 2**20
_REFUSED = """send('{"id": NUMBER, "error": {"kind": "request", "message": "m"}}\\n')"""


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Check how much more memory this process has at the most, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _peak()
    yield
    assert _peak() - before < limit


def _peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@fault(
    "a worker whose log has a gigabyte", "both ends of the log are kept; less than 20 MiB of memory, no disk"
)
@pytest.mark.slow
def test_of_a_log_without_end_both_ends_are_kept(tmp_path: Path) -> None:
    code = (
        "os.write(2, b'the beginning\\n'); [os.write(2, (b'y' * 127 + b'\\n') * 8192) for _ in range(1024)]; "
        f"os.write(2, b'the end\\n'); {_REFUSED}"
    )
    with memory_below(20 * MIB), closing(start(tmp_path, code, 60)) as worker:
        with pytest.raises(RequestFailedError) as caught:
            worker.ask("load")
        log = worker.log()
    assert log.startswith("the beginning\n")
    assert log.endswith("the end\n")
    assert "bytes are left out]" in log
    assert caught.value.log[-1] == "the end"
    assert len(log) < 2 * MIB


@fault("a log with a line of 64 MiB", "the line is shortened")
@pytest.mark.quick
def test_a_line_without_end_is_shortened(tmp_path: Path) -> None:
    code = f"[os.write(2, b'z' * 2**20) for _ in range(64)]; {_REFUSED}"
    with (
        memory_below(20 * MIB),
        closing(start(tmp_path, code)) as worker,
        pytest.raises(RequestFailedError) as caught,
    ):
        worker.ask("load")
    assert 0 < sum(map(len, caught.value.log)) < 10_000


@fault("a worker that writes to its log for ever", "the worker is ended after `--llm-timeout`")
@pytest.mark.quick
def test_a_log_that_never_ends_is_no_answer(tmp_path: Path) -> None:
    code = "\n    while True: os.write(2, b'still here\\n' * 1000)"
    with (
        memory_below(20 * MIB),
        closing(start(tmp_path, code, 0.5)) as worker,
        pytest.raises(WorkerHungError) as caught,
    ):
        worker.ask("load")
    assert caught.value.log[-2] == "still here"


@fault("an answer of a gigabyte, or of 50 million values", "the worker is ended; less than 100 MiB of memory")
@pytest.mark.slow
@pytest.mark.parametrize("unit", ["'x'", "'[],'", "'{},'", "'1.5,'", "'\"a\",'"])
def test_an_answer_without_end_costs_little_memory(unit: str, tmp_path: Path) -> None:
    code = f"""send('{{"id": NUMBER, "ok": [')\n    for _ in range(400): send({unit} * 2**19)"""
    with (
        memory_below(100 * MIB),
        closing(start(tmp_path, code, 60)) as worker,
        pytest.raises(WorkerAnswerError),
    ):
        worker.ask("load")


@fault("an answer of as many values as its limit allows", "the worker is ended; less than 100 MiB of memory")
@pytest.mark.quick
@pytest.mark.parametrize(
    "unit",
    [
        "[]",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("{}", "1.5", "[[[[]]]]")),
        '"a"',
        '{"a":{}}',
    ],
)
def test_the_largest_answer_costs_little_memory(unit: str, tmp_path: Path) -> None:
    count = 2**21 // (len(unit) + 1)
    code = f"""send('{{"id": NUMBER, "ok": [' + ','.join([{unit!r}] * {count}) + ']}}\\n')"""
    with (
        memory_below(100 * MIB),
        closing(start(tmp_path, code)) as worker,
        pytest.raises(WorkerAnswerError),
    ):
        worker.ask("load")


@fault(
    "a program that writes a gigabyte to each of its streams",
    "both ends are kept; less than 100 MiB of memory",
)
@pytest.mark.slow
def test_a_program_without_end_costs_little_memory() -> None:
    code = "import os; [os.write(each, b'x' * 2**20) for _ in range(1024) for each in (1, 2)]"
    with memory_below(100 * MIB):
        ended = run_once([sys.executable, "-c", code], {}, 60)
    assert ended.status == 0
    assert len(ended.log) < 2 * MIB


@fault("a pytest that has more than 1,024 files open", "nothing: they work as ever")
@pytest.mark.quick
def test_more_than_1024_descriptors_are_no_trouble(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this process may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with closing(start(tmp_path, """send('{"id": NUMBER, "ok": 7}\\n')""")) as worker:
            assert worker.ask("generate_steps", steps=7) == 7
        assert run_once([sys.executable, "-c", "print(7)"], {}, 20).output == "7\n"
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@fault("no descriptor is left for a worker", "one line that says so, and what to raise")
@pytest.mark.quick
def test_no_descriptor_left_is_one_line(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
    opened = []
    try:
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        os.close(opened.pop())
    try:
        with pytest.raises(EngineError, match="raise `ulimit -n`"):
            start(tmp_path, "pass")
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@fault("a program that never answers", "it is ended after `--llm-timeout`, and what it started as well")
@pytest.mark.quick
def test_a_program_that_never_ends_ends_with_all_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; each = subprocess.Popen(['sleep', '60']); "
        "print(each.pid, file=sys.stderr, flush=True); time.sleep(60)"
    )
    began = time.monotonic()
    with pytest.raises(TimeLimitError) as caught:
        run_once([sys.executable, "-c", code], {"PATH": "/bin:/usr/bin"}, 1.0)
    assert time.monotonic() - began < 5
    (pid,) = caught.value.log
    deadline = time.monotonic() + 5
    while psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
