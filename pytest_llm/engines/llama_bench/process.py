"""Run a program to its end, and say why it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.engines.llama_cpp_python.process import cause_of_end
from pytest_llm.errors import EngineMissingError, WorkerDiedError, WorkerHungError
from pytest_llm.system import program
from pytest_llm.system.procfs import oom_kills
from pytest_llm.system.program import Ended, TimeLimitError, last_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def run_once(
    command: Sequence[str], environment: Mapping[str, str], timeout: float, name: str, doing: str
) -> Ended:
    """Run a program to its end; see :func:`pytest_llm.system.program.run_once`.

    Args:
        command: The program and its arguments.
        environment: The whole environment of the program.
        timeout: Seconds, after which it is killed.
        name: The build, for messages.
        doing: The purpose, for messages: "generating".

    Raises:
        EngineMissingError: It cannot be started.
        WorkerHungError: It did not end in time.
        WorkerDiedError: A signal ended it.
    """
    kills = oom_kills()
    try:
        ended = program.run_once(command, environment, timeout)
    except OSError as error:
        raise EngineMissingError(
            f"{name}: {command[0]} cannot be started ({error.strerror}): name a program of this machine"
        ) from error
    except TimeLimitError as error:
        raise WorkerHungError(
            f"{name}: the program did not end within {timeout:g} s while {doing}, and was ended: raise "
            "--llm-timeout if the machine is that slow",
            error.log,
        ) from None
    if ended.status < 0:
        cause = cause_of_end(ended.status, out_of_memory=oom_kills() > kills)
        raise WorkerDiedError(f"{name}: the program ended while {doing}: {cause}", last_lines(ended.log))
    return ended
