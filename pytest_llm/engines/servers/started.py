"""A tool that this process starts: it ends with this process, and what it has started ends with it."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.engines.last_words import last_words
from pytest_llm.errors import EngineError, WorkerHungError
from pytest_llm.system.program import supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_POLL_SECONDS = 0.05


class StartedTool:
    """A process with a folder of its own, which is removed with it."""

    def __init__(self, name: str) -> None:
        """Make the folder; nothing is started yet."""
        self._name = name
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pytest-llm-")))
        self.port = free_port()

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        ready: Callable[[], bool],
        timeout: float,
    ) -> Callable[[], None]:
        """Start a process, and return what ends it once it is ready.

        Args:
            command: The program and its arguments.
            environment: Its variables.
            ready: Asks it.
            timeout: Seconds to wait.

        Raises:
            EngineError: It ended, or is not ready in time.
        """
        log = self.folder / "log"
        running = ExitStack()
        nothing = running.enter_context(Path(os.devnull).open("rb"))  # noqa: SIM115 - the stack closes it
        written = running.enter_context(log.open("wb"))
        process = running.enter_context(
            supervised(
                nothing.fileno(), "open", command, env=dict(environment), stdout=written, stderr=written
            )
        )
        started = time.monotonic()
        while not ready():
            lines = last_words(log.read_text(encoding="utf-8", errors="replace")).lines
            if process.poll() is not None:
                running.close()
                raise EngineError(f"{self._name}: it ended before it was ready: see its last lines", lines)
            if time.monotonic() - started > timeout:
                running.close()
                raise WorkerHungError(f"{self._name}: it was not ready after {timeout:g} s", lines)
            time.sleep(_POLL_SECONDS)
        return running.close

    def close(self) -> None:
        self._stack.close()


def free_port() -> int:
    """Return a port of the loopback interface on which nothing listens now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
