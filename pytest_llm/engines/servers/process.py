"""A server's process: locked in, started before it loads, its log, and how it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_llm.engines.last_words import last_words
from pytest_llm.engines.llama_cpp_python.process import (
    NOT_STARTED,
    NOT_STARTED_BECAUSE,
    cause_of_end,
    launcher,
)
from pytest_llm.errors import EngineError, EngineMissingError, WorkerDiedError
from pytest_llm.system.capped_log import CappedLog
from pytest_llm.system.procfs import oom_kills

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.system.sandbox import Sandbox

_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux, which Python 3.10 names so
_LOG_PIPE_BYTES = 2**20
_CHUNK = 2**16
# A server in the midst of a stream heeds the first signal at its next ping, and the second one at once.
_POLITE_SECONDS = 2.0
_END_SECONDS = 10.0


class ServerProcess:
    """One server. It exists from the start on, so that its memory can be watched while it loads."""

    def __init__(
        self, command: Sequence[str], sandbox: Sandbox, name: str, descriptors: Sequence[int] = ()
    ) -> None:
        """Start the process, which waits for :meth:`begin`.

        Args:
            command: The program and its arguments.
            sandbox: What it may do, and its environment; it is closed with the process.
            name: The build, for messages.
            descriptors: Files that it inherits, under the same numbers.

        Raises:
            EngineError: This process has no more descriptors.
        """
        self.name = name
        self._sandbox = sandbox
        self._log = CappedLog()
        self._closed = False
        self._oom_kills = oom_kills()
        self._real_paths: dict[str, str] = {}
        made: list[int] = []
        try:
            for _ in range(2):
                made += os.pipe()
            gate, self._gate, self._log_end, log = made
            os.set_blocking(self._log_end, False)
            _make_room(self._log_end)
            self._process = subprocess.Popen(
                [*launcher(sandbox.description(), gate), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=sandbox.environment(),
                pass_fds=(gate, *descriptors),
                start_new_session=True,  # Ctrl-C is pytest's to handle
            )
        except OSError as error:
            for each in made:
                os.close(each)
            sandbox.close()
            raise EngineError(
                f"{name}: no server can be started ({error.strerror}): raise `ulimit -n`, or close files"
            ) from error
        os.close(gate)
        os.close(log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def name_path(self, opened: str, real: str) -> None:
        """Show the path by which the server opens a file as the file's own in the log."""
        self._real_paths[opened] = real

    def begin(self) -> None:
        """Let the process become the server."""
        with suppress(BrokenPipeError):
            os.write(self._gate, b"\n")

    def wait_for_log(self, seconds: float) -> None:
        """Wait until the server writes something, at most so long."""
        poll = select.poll()
        poll.register(self._log_end, select.POLLIN)
        if poll.poll(1000 * seconds):
            self.read_log()

    def read_log(self) -> None:
        """Read what the server has written, so that it never waits for room."""
        while not self._closed:
            try:
                data = os.read(self._log_end, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                return
            self._log.append(data)

    def log(self, since: int = 0) -> str:
        """Return what the server wrote, after the first so many bytes; of a very long log, both ends."""
        self.read_log()
        text = self._log.text(since)
        for opened in sorted(self._real_paths, key=len, reverse=True):  # .../fd/12 before .../fd/1
            text = text.replace(opened, self._real_paths[opened])
        return text

    def written(self) -> int:
        """Return how many bytes the server has written."""
        self.read_log()
        return self._log.size

    def last_lines(self, since: int = 0) -> tuple[str, ...]:
        """Return the last lines of the log, after the first so many bytes."""
        return last_words(self.log(since)).lines

    def suspend(self) -> None:
        """Stop every thread of the server; one that has ended stays ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)

    def died(self, doing: str) -> WorkerDiedError:
        """Return why the server has ended; one that still runs without answering is ended."""
        with suppress(
            subprocess.TimeoutExpired
        ):  # its connections close a moment before it can be waited for
            self._process.wait(timeout=0.5)
        status = self._process.returncode
        self._kill()
        words = last_words(self.log())
        cause = "it closed the connection, and was ended"
        if status is not None:
            cause = cause_of_end(status, words.cause, out_of_memory=oom_kills() > self._oom_kills)
        return WorkerDiedError(f"{self.name}: the server ended while {doing}: {cause}", words.lines)

    def ended_by_itself(self) -> bool:
        """Return if the server has ended without a signal."""
        status = self._process.poll()
        return status is not None and status >= 0

    def not_started(self) -> EngineMissingError | None:
        """Return why the program could not be run; None if it could."""
        log = self.log()
        if self._process.poll() != NOT_STARTED or not log.startswith(NOT_STARTED_BECAUSE):
            return None
        reason = log.removeprefix(NOT_STARTED_BECAUSE)
        return EngineMissingError(
            f"{self.name}: it cannot be started ({reason}): name a program of this machine"
        )

    def close(self) -> None:
        """End the server and what it started; may be called again. Its connections must be closed."""
        if self._closed:
            return
        self.resume()
        if not self._ended_by(signal.SIGTERM):
            self._ended_by(signal.SIGTERM)
        self._kill()
        self._closed = True
        os.close(self._gate)
        os.close(self._log_end)
        self._sandbox.close()

    def _ended_by(self, sent: signal.Signals) -> bool:
        with suppress(ProcessLookupError):
            self._process.send_signal(sent)
        deadline = time.monotonic() + _POLITE_SECONDS
        while self.alive and time.monotonic() < deadline:
            self.wait_for_log(0.01)  # it may write so much that it waits for room
        return not self.alive

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_END_SECONDS)
        self.read_log()


def _make_room(descriptor: int) -> None:
    try:
        import fcntl

        fcntl.fcntl(descriptor, _PIPE_SIZE, _LOG_PIPE_BYTES)
    except (ImportError, OSError):  # another system, or this user has too many large pipes
        pass
