"""A worker process: requests, answers, timeouts, and why it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.environment import passed
from pytest_llm.engines.last_words import last_words
from pytest_llm.engines.llama_cpp_python.operations import OPERATIONS, answer_bytes
from pytest_llm.engines.llama_cpp_python.wire import MalformedAnswerError, Wire
from pytest_llm.errors import (
    EngineError,
    EngineMissingError,
    LoadRefusedError,
    NotCoveredError,
    RequestFailedError,
    WorkerAnswerError,
    WorkerDiedError,
    WorkerHungError,
    WrongOutputError,
)
from pytest_llm.system.procfs import oom_kills
from pytest_llm.system.start_size import padded_arguments
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.llama_cpp_python.operations import Shape
    from pytest_llm.records import JSON
    from pytest_llm.system.sandbox import Sandbox

WORKER = Path(__file__).parent / "worker"
# How a launcher ends that cannot become the program, and what it writes.
NOT_STARTED, NOT_STARTED_BECAUSE = 127, "not started: "
NO_BACKTRACE = "GGML_NO_BACKTRACE"
_END_SECONDS = 10.0  # for a process whose pipes are closed; it may have much memory to give back
_CLOSED_SECONDS = 0.5  # for one that has closed only some of them
_LONGEST_REFUSAL = 2000  # characters; an import that failed says much

_ERRORS: Mapping[str, type[EngineError]] = {
    "missing": EngineMissingError,
    "load": LoadRefusedError,
    "request": RequestFailedError,
    "uncovered": NotCoveredError,
    "output": WrongOutputError,
}
# Their messages say it all.
_WITHOUT_LOG = (EngineMissingError, NotCoveredError, WrongOutputError)
_MEANING = {
    "SIGILL": "an instruction this CPU lacks: rebuild with CMAKE_ARGS=-DGGML_NATIVE=OFF",
    "SIGSEGV": "a crash inside llama.cpp: try another build, or report it upstream",
    "SIGBUS": "a crash inside llama.cpp, or the model's file shrank while it was mapped",
    "SIGABRT": "llama.cpp gave up: {cause}",
    "SIGXCPU": "it used more processor time than a worker may",
    "SIGSYS": "a system call that the sandbox forbids: --llm-sandbox=off measures without one",
    "SIGFPE": "a crash inside llama.cpp: try another build, or report it upstream",
}


def worker_environment(environ: Mapping[str, str], also: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the part of an environment that a worker gets, without ggml's backtraces.

    A backtrace buries the line that says why llama.cpp gave up, and older releases start a debugger for it.
    """
    names = {*passed(environ), *also}
    return {NO_BACKTRACE: "1", **{name: value for name, value in environ.items() if name in names}}


def launcher(description: str, gate: int | None = None) -> list[str]:
    """Return the command that locks itself in and becomes the program whose path and arguments follow.

    Args:
        description: Of the sandbox.
        gate: A descriptor that the command inherits; it waits there for a byte before it becomes the program.
    """
    how = ["become"] if gate is None else ["wait", str(gate)]
    return [sys.executable, "-I", "-S", str(WORKER), *how, str(os.getpid()), description]


class WorkerProcess:
    """One worker."""

    def __init__(
        self,
        interpreter: str,
        sandbox: Sandbox,
        name: str,
        timeout: float,
        descriptors: Sequence[int] = (),
        under: Sequence[str] = (),
    ) -> None:
        """Start the worker.

        Args:
            interpreter: The Python that has ``llama_cpp``.
            sandbox: What it may do, and its environment; it is closed with the worker.
            name: The build, for messages.
            timeout: Seconds for each answer.
            descriptors: Files that the worker inherits, under the same numbers.
            under: The program that runs the interpreter, and its options: that of ``sandbox``.

        Raises:
            EngineMissingError: There is no such interpreter.
        """
        self.name = name
        self.sandbox = sandbox
        self._timeout = timeout
        self._doing = "starting"
        self._ended: EngineError | None = None
        self._closed = False
        self._real_paths: dict[str, str] = {}
        self._oom_kills = oom_kills()
        try:
            self._wire = Wire()
        except OSError as error:
            sandbox.close()
            raise EngineError(
                f"{name}: no worker can be started ({error.strerror}): raise `ulimit -n`, or close files"
            ) from error
        theirs = self._wire.theirs
        ends = (str(theirs.requests), str(theirs.answers), str(os.getpid()))
        run = [interpreter, *sandbox.options(), str(WORKER)]
        words = padded_arguments([*run, *ends, sandbox.description()])
        if under:
            words = [*run, "become", ends[-1], sandbox.description(), *under, *run, *ends]
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=theirs.log,
                stderr=theirs.log,
                env=sandbox.environment(),
                pass_fds=(theirs.requests, theirs.answers, *descriptors),
                # Ctrl-C is pytest's to handle; it closes its workers in good order.
                start_new_session=True,
            )
        except OSError as error:
            self._wire.close()
            sandbox.close()
            raise EngineMissingError(
                f"{name}: {interpreter} cannot be started ({error.strerror}): give an environment "
                "with llama-cpp-python in it"
            ) from error
        finally:
            theirs.close()

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
        operation = OPERATIONS[op]
        self._doing = operation.doing
        since = self._written()
        request = {"op": op, **arguments}
        try:
            answer = self._wire.ask(request, self._timeout, lambda size: answer_bytes(op, arguments, size))
            if "ok" in answer:
                return _checked(answer, operation.answer)
            kind, message = _refusal(answer)
        except TimeoutError:
            self._ended = self._hung()
        except MalformedAnswerError as error:
            self._ended = self._malformed(str(error))
        except EOFError:
            self._ended = self._died()
        except (
            BaseException
        ):  # Ctrl-C, or a time limit of the test: the answer would be taken for another one's
            self._ended = WorkerDiedError(
                f"{self.name}: the worker was ended, because a request was broken off while {self._doing}"
            )
            self._kill()
            raise
        else:
            log = () if kind in _WITHOUT_LOG else self.last_lines(since)
            raise kind(f"{self.name}: {message}", log)
        raise self._ended

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
        """Return what the worker wrote to standard output and error; of a very long log, both ends."""
        return self._log_since(0)

    def last_lines(self, since: int = 0) -> tuple[str, ...]:
        """Return the last lines of what the worker wrote, after the first ``since`` bytes."""
        return last_words(self._log_since(since)).lines

    def close(self) -> None:
        """End the process; may be called again."""
        if self._closed:
            return
        self._closed = True
        self._kill()
        self._wire.close()
        self.sandbox.close()

    def _written(self) -> int:
        if not self._closed:
            self._wire.read_log()
        return self._wire.log.size

    def _log_since(self, start: int) -> str:
        self._written()
        text = self._wire.log.text(start)
        for opened in sorted(self._real_paths, key=len, reverse=True):  # .../fd/12 before .../fd/1
            text = text.replace(opened, self._real_paths[opened])
        return text

    def _kill(self) -> None:
        # It has nothing to save, and a stopped or hanging process heeds no gentler word.
        with suppress(ProcessLookupError):
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_END_SECONDS)

    def _end(self) -> tuple[str, ...]:
        log = self.last_lines()
        self._kill()
        return log

    def _hung(self) -> WorkerHungError:
        return WorkerHungError(
            f"{self.name}: the worker gave no answer for {self._timeout:g} s while {self._doing}, "
            "and was ended: raise --llm-timeout if the machine is that slow",
            self._end(),
        )

    def _malformed(self, reason: str) -> WorkerAnswerError:
        return WorkerAnswerError(
            f"{self.name}: the worker's answer while {self._doing} cannot be trusted ({reason}), and it was "
            "ended: reinstall the build; if a model you did not make does this, do not load it",
            self._end(),
        )

    def _died(self) -> WorkerDiedError:
        # Its pipes close a moment before it can be waited for: together, if it has ended.
        deadline = time.monotonic() + _END_SECONDS
        while self.alive and time.monotonic() < deadline:
            self._wire.read_log()
            if self._wire.log_is_open:
                deadline = min(deadline, time.monotonic() + _CLOSED_SECONDS)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_CLOSED_SECONDS / 10)
        status = self._process.returncode
        self._kill()
        words = last_words(self.log())
        cause = cause_of_end(status, words.cause, out_of_memory=oom_kills() > self._oom_kills)
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
        return "it closed its pipes, and was ended"
    if returncode >= 0:
        return f"exit status {returncode}: {cause}"
    known = {each.value: each.name for each in signal.Signals}
    name = known.get(-returncode, f"signal {-returncode}")
    if name == "SIGKILL" and out_of_memory:
        return "killed by the out-of-memory killer: lower n_ctx, take a smaller model, or add memory"
    if name == "SIGKILL":
        return "SIGKILL, sent by someone; the system's out-of-memory killer counted no victim"
    return f"{name}, {_MEANING.get(name, 'sent by someone').format(cause=cause)}"


def _checked(answer: Mapping[str, Any], shape: Shape) -> Any:
    if len(answer) != 1 or not shape(answer["ok"]):
        raise MalformedAnswerError("it has another shape")
    return answer["ok"]


def _refusal(answer: Mapping[str, Any]) -> tuple[type[EngineError], str]:
    error = answer.get("error")
    if len(answer) == 1 and isinstance(error, dict) and error.keys() == {"kind", "message"}:
        kind, message = error["kind"], error["message"]
        if isinstance(kind, str) and kind in _ERRORS and isinstance(message, str):
            return _ERRORS[kind], clean(message, _LONGEST_REFUSAL)
    raise MalformedAnswerError("it is neither a result nor an error")
