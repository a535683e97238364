"""Run a program to its end, and say why it failed."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.engines.llama_cpp_python.process import cause_of_end, oom_kills
from pytest_llm.errors import EngineMissingError, WorkerDiedError, WorkerHungError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LAST_LINES = 12


class Ended(NamedTuple):
    """A program that has ended.

    Attributes:
        status: Its exit status, 0 or more.
        output: What it wrote to standard output.
        log: What it wrote to standard error.
    """

    status: int
    output: str
    log: str

    def last_lines(self) -> tuple[str, ...]:
        """Return the end of its log, or of its output if the log is empty."""
        return _last_lines(self.log) or _last_lines(self.output)


def run_once(
    command: Sequence[str], environment: Mapping[str, str], timeout: float, name: str, doing: str
) -> Ended:
    """Run a program to its end; this process sleeps meanwhile.

    Args:
        command: The program and its arguments.
        environment: The whole environment of the program.
        timeout: Seconds, after which it is killed.
        name: What messages call it: the build.
        doing: What it does, for messages: "generating".

    Raises:
        EngineMissingError: It cannot be started.
        WorkerHungError: It did not end in time.
        WorkerDiedError: A signal ended it.
    """
    kills = oom_kills()
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            # Ctrl-C is pytest's to handle; it ends this program in good order.
            start_new_session=True,
        )
    except OSError as error:
        raise EngineMissingError(
            f"{name}: {command[0]} cannot be started ({error.strerror}): name a program of this machine"
        ) from error
    try:
        output, log = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        _, log = process.communicate()
        raise WorkerHungError(
            f"{name}: the program did not end within {timeout:g} s while {doing}, and was ended: raise "
            "--llm-timeout if the machine is that slow",
            _last_lines(_text(log)),
        ) from None
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode < 0:
        cause = cause_of_end(process.returncode, out_of_memory=oom_kills() > kills)
        raise WorkerDiedError(f"{name}: the program ended while {doing}: {cause}", _last_lines(_text(log)))
    return Ended(process.returncode, _text(output), _text(log))


def _text(written: bytes) -> str:
    return written.decode(errors="replace")


def _last_lines(text: str) -> tuple[str, ...]:
    return tuple([line.rstrip() for line in text.splitlines() if line.strip()][-_LAST_LINES:])
