"""A worker process: requests, answers, timeouts, and why it ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.environment import passed
from pytest_llm.engines.last_words import last_words
from pytest_llm.errors import (
    EngineError,
    EngineMissingError,
    LoadRefusedError,
    NotCoveredError,
    RequestFailedError,
    WorkerDiedError,
    WorkerHungError,
    WrongOutputError,
)
from pytest_llm.system.procfs import oom_kills

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import JSON

WORKER = Path(__file__).parent / "worker"
NO_BACKTRACE = "GGML_NO_BACKTRACE"

_ERRORS: Mapping[str, type[EngineError]] = {
    "missing": EngineMissingError,
    "load": LoadRefusedError,
    "request": RequestFailedError,
    "uncovered": NotCoveredError,
    "output": WrongOutputError,
}
# Their messages say it all.
_WITHOUT_LOG = (EngineMissingError, NotCoveredError, WrongOutputError)
_DOING = {
    "hello": "importing llama_cpp",
    "symbols": "looking functions up in the library",
    "names": "importing llama_cpp",
    "structs": "importing llama_cpp",
    "defaults": "asking llama.cpp for its default parameters",
    "layouts": "looking at the library's structs",
    "load": "loading the model",
    "rehearse": "going through a first request",
    "prompt_slice": "decoding a prompt",
    "generation_slice": "generating",
    "generate_steps": "generating",
    "count_threads": "counting the threads that work",
    "embedding_slice": "embedding texts",
    "embed": "embedding texts",
    "request": "going through a request",
    "stream_open": "taking in a prompt",
    "stream_next": "generating",
    "top_logprobs": "decoding a prompt",
    "tokenize": "tokenising",
    "detokenize": "detokenising",
}
_MEANING = {
    "SIGILL": "an instruction this CPU lacks: rebuild with CMAKE_ARGS=-DGGML_NATIVE=OFF",
    "SIGSEGV": "a crash inside llama.cpp: try another build, or report it upstream",
    "SIGBUS": "a crash inside llama.cpp, or the model's file shrank while it was mapped",
    "SIGABRT": "llama.cpp gave up: {cause}",
    "SIGFPE": "a crash inside llama.cpp: try another build, or report it upstream",
}


def worker_environment(environ: Mapping[str, str], also: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the part of an environment that a worker gets, without ggml's backtraces.

    A backtrace buries the line that says why llama.cpp gave up, and older releases start a debugger for it.
    """
    names = {*passed(environ), *also}
    return {NO_BACKTRACE: "1", **{name: value for name, value in environ.items() if name in names}}


class WorkerProcess:
    """One worker."""

    def __init__(
        self,
        interpreter: str,
        environment: Mapping[str, str],
        name: str,
        timeout: float,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start the worker.

        Args:
            interpreter: The Python that has ``llama_cpp``.
            environment: The whole environment of the worker.
            name: The build, for messages.
            timeout: Seconds for each answer.
            descriptors: Files that the worker inherits, under the same numbers.

        Raises:
            EngineMissingError: There is no such interpreter.
        """
        self.name = name
        self._timeout = timeout
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._unread = b""
        self._doing = "starting"
        self._ended: EngineError | None = None
        self._real_paths: dict[str, str] = {}
        self._oom_kills = oom_kills()
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        try:
            self._process = subprocess.Popen(
                [interpreter, str(WORKER), str(requests), str(answers), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=dict(environment),
                pass_fds=(requests, answers, *descriptors),
                # Ctrl-C is pytest's to handle; it closes its workers in good order.
                start_new_session=True,
            )
        except OSError as error:
            self._close_pipes()
            raise EngineMissingError(
                f"{name}: {interpreter} cannot be started ({error.strerror}): give an environment "
                "with llama-cpp-python in it"
            ) from error
        finally:
            os.close(requests)
            os.close(answers)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, op: str, **arguments: JSON) -> Any:
        """Send one request and wait for its answer.

        Raises:
            EngineError: The worker refused, died, or did not answer in time.
        """
        if self._ended is not None:
            raise self._ended
        self._doing = _DOING.get(op, op)
        written = self._written()
        line = json.dumps({"op": op, **arguments}) + "\n"
        try:
            self._write(line.encode())
            answer = json.loads(self._read_line())
        except (BrokenPipeError, EOFError):
            self._ended = self._died()
            raise self._ended from None
        if "ok" in answer:
            return answer["ok"]
        error = answer["error"]
        kind = _ERRORS[error["kind"]]
        log = () if kind in _WITHOUT_LOG else self.last_lines(since=written)
        raise kind(f"{self.name}: {error['message']}", log)

    def suspend(self) -> None:
        """Stop every thread of the worker; one that has ended stays ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)

    def name_path(self, opened: str, real: str) -> None:
        """Show the path by which the worker opens a file as the file's own in the log."""
        self._real_paths[opened] = real

    def log(self) -> str:
        """Return everything that the worker wrote to standard output and error."""
        return self._log_since(0)

    def last_lines(self, since: int = 0) -> tuple[str, ...]:
        """Return the last lines of what the worker wrote, after the first ``since`` bytes."""
        return last_words(self._log_since(since)).lines

    def close(self) -> None:
        """End the process; may be called again."""
        if self._log.closed:
            return
        # It has nothing to save, and a stopped or hanging process heeds no gentler word.
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        os.close(self._requests)
        os.close(self._answers)
        self._log.close()

    def _written(self) -> int:
        return os.fstat(self._log.fileno()).st_size

    def _log_since(self, start: int) -> str:
        text = os.pread(self._log.fileno(), self._written() - start, start).decode(errors="replace")
        for opened in sorted(self._real_paths, key=len, reverse=True):  # .../fd/12 before .../fd/1
            text = text.replace(opened, self._real_paths[opened])
        return text

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._requests, data) :]

    def _read_line(self) -> bytes:
        deadline = time.monotonic() + self._timeout
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                self._ended = self._hung()
                raise self._ended
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                raise EOFError
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _hung(self) -> WorkerHungError:
        log = self.last_lines()
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        return WorkerHungError(
            f"{self.name}: the worker gave no answer for {self._timeout:g} s while {self._doing}, "
            "and was ended: raise --llm-timeout if the machine is that slow",
            log,
        )

    def _died(self) -> WorkerDiedError:
        # Its pipe closes a moment before it can be waited for.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        words = last_words(self.log())
        cause = cause_of_end(
            self._process.returncode, words.cause, out_of_memory=oom_kills() > self._oom_kills
        )
        return WorkerDiedError(f"{self.name}: the worker ended while {self._doing}: {cause}", words.lines)


def cause_of_end(returncode: int | None, cause: str = "", *, out_of_memory: bool) -> str:
    """Return why a process ended, with the fix if one is known.

    Args:
        returncode: Its exit status, below 0 for a signal; None while it runs.
        cause: What its log says of the end; "" if nothing.
        out_of_memory: Whether the kernel killed a process meanwhile because memory ran out.
    """
    cause = cause or "its last lines say why"
    if returncode is None:
        return "it closed its pipes and goes on"
    if returncode >= 0:
        return f"exit status {returncode}: {cause}"
    known = {each.value: each.name for each in signal.Signals}
    name = known.get(-returncode, f"signal {-returncode}")
    if name == "SIGKILL" and out_of_memory:
        return "killed by the out-of-memory killer: lower n_ctx, take a smaller model, or add memory"
    if name == "SIGKILL":
        return "SIGKILL, sent by someone; the system's out-of-memory killer counted no victim"
    return f"{name}, {_MEANING.get(name, 'sent by someone').format(cause=cause)}"
