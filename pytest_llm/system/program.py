"""Programs run to their end: one that answers, or those that make a build and end with this process."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, TypeAlias

from pytest_llm.system import regular_file
from pytest_llm.system.build_environment import building, fetching, may_use_network
from pytest_llm.system.capped_log import CappedLog
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Reach: TypeAlias = Literal["closed", "open", "fetch"]

PROGRESS_SECONDS = 30.0  # between two lines of progress

_SUPERVISED = (sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py")))
_LAST_LINES = 15
_WATCH_SECONDS = 0.02
_CHUNK = 2**16
_KEPT_OUTPUT_BYTES = 2**23  # at the beginning, and as many at the end
_TAIL_BYTES = 2**16
# Ninja writes "[12/345] Building CXX object".
_STEP = re.compile(r"\[\s*(\d+)/(\d+)\]")


class Ended(NamedTuple):
    """A program that ended by itself, or after a signal."""

    status: int  # negative: the signal that ended it
    output: str  # standard output
    log: str  # standard error

    def last_lines(self) -> tuple[str, ...]:
        """Return the end of its log, or of its output if the log is empty."""
        return last_lines(self.log) or last_lines(self.output)


class TimeLimitError(Exception):
    """A program did not end in time, and was killed; ``log`` is the end of its standard error."""

    def __init__(self, log: tuple[str, ...]) -> None:
        super().__init__()
        self.log = log


def run_once(
    command: Sequence[str],
    environment: Mapping[str, str],
    timeout: float,
    watch: Callable[[int], None] | None = None,
    descriptors: Sequence[int] = (),
) -> Ended:
    """Run a program to its end, or raise ``TimeLimitError`` or ``OSError``.

    This process does not wake up meanwhile, unless there is something to call with the program's id again and
    again. The program inherits the descriptors under the same numbers.
    """
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        pass_fds=tuple(descriptors),
        start_new_session=True,  # so that Ctrl-C reaches only this process, which ends the program
    )
    output, log = CappedLog(_KEPT_OUTPUT_BYTES), CappedLog()
    try:
        _read_both(process, output, log, time.monotonic() + timeout, watch)
    except TimeoutError:
        raise TimeLimitError(last_lines(log.text())) from None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started ends as well
        process.wait()
        for each in (process.stdout, process.stderr):
            assert each is not None
            each.close()
    return Ended(process.returncode, output.text(), log.text())


def _read_both(
    process: subprocess.Popen[bytes],
    output: CappedLog,
    log: CappedLog,
    deadline: float,
    watch: Callable[[int], None] | None,
) -> None:
    """Read what a program writes until it has ended, or raise ``TimeoutError``."""
    assert process.stdout is not None
    assert process.stderr is not None
    streams = {process.stdout.fileno(): output, process.stderr.fileno(): log}
    poll = select.poll()
    for each in streams:
        poll.register(each, select.POLLIN)
    while streams:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if watch is not None:
            watch(process.pid)
        for ready, _ in poll.poll(1000 * (left if watch is None else min(left, _WATCH_SECONDS))):
            data = os.read(ready, _CHUNK)
            streams[ready].append(data)
            if not data:
                poll.unregister(ready)
                del streams[ready]
    try:
        process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None


def run_to_our_end(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end in a folder; it and its children end with this process, however that ends."""
    with (
        open(os.devnull, "rb") as nothing,  # noqa: PTH123 - in the place of a lock
        supervised(
            nothing.fileno(),
            "fetch",
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        output, log = process.communicate()
    return subprocess.CompletedProcess(list(command), process.returncode, output, log)


@contextmanager
def supervised(
    lock: int, network: str, command: Sequence[str], **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Start a command that ends, with its children, when the context does or this process ends.

    Args:
        lock: A descriptor that the command inherits.
        network: How far it may reach.
        command: The program and its arguments.
        options: Of ``subprocess.Popen``.
    """
    reading, writing = os.pipe()
    try:
        process: subprocess.Popen[Any] = subprocess.Popen(
            [*_SUPERVISED, str(reading), str(lock), network, *command],
            stdin=subprocess.DEVNULL,
            pass_fds=(reading, lock),
            start_new_session=True,
            **options,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    try:
        yield process
    finally:
        os.close(writing)  # ends what still runs
        process.wait()


def last_lines(log: str) -> tuple[str, ...]:
    """Return the lines at the end of a log that say why a program failed, cleaned."""
    lines = [line.rstrip() for line in log[-_TAIL_BYTES:].splitlines() if line.strip()]
    return tuple(clean(line) for line in lines[-_LAST_LINES:])


class Running:
    """Runs commands for one build, with a log that is emptied first and a lock file that they inherit."""

    def __init__(
        self,
        name: str,
        log: Path,
        lock: int,
        on_progress: Callable[[str], None],
        progress_seconds: float = PROGRESS_SECONDS,
    ) -> None:
        self.name = name
        self.log = log
        self._lock = lock
        self._on_progress = on_progress
        self._progress_seconds = progress_seconds
        self._started = time.monotonic()
        with self._opened_log() as file:
            file.truncate(0)

    def __call__(
        self, command: list[str], reach: Reach = "closed", environment: Mapping[str, str] | None = None
    ) -> int:
        """Run a command to its end; return its exit status.

        Args:
            command: The program and its arguments.
            reach: "fetch" for a command that runs no code of what it fetches; "open" for one that does both;
                "closed" for one that has all: it gets no network and no credentials of the package index.
            environment: Its variables; None for those of the reach.
        """
        if environment is None:
            environment = building(os.environ) if reach == "closed" else fetching(os.environ)
        network = "open" if reach == "closed" and may_use_network(os.environ) else reach
        with (
            self._opened_log() as log,
            supervised(self._lock, network, command, stdout=log, stderr=log, env=environment) as process,
        ):
            return self._wait(process)

    def on_progress(self, line: str) -> None:
        """Show a line."""
        self._on_progress(line)

    def _opened_log(self) -> BinaryIO:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(self.log, flags, 0o666)
        try:
            regular_file.check_own(handle)
        except OSError as error:
            os.close(handle)
            raise OSError(error.errno, f"{self.log}: {error.strerror}") from None
        return open(handle, "ab")  # noqa: PTH123 - a path would be opened anew

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def tail(self) -> str:
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace")

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=self._progress_seconds)
            step = _STEP.findall(self.tail())
            done = f", step {step[-1][0]} of {step[-1][1]}" if step else ""
            self._on_progress(f"building {self.name}: {self.seconds:.0f} s{done}")
