"""LM Studio: the one whose server runs, by URL or where it listens by default, or one that ``lms`` starts."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from pytest_llm.engines.llama_cpp_python.process import worker_environment
from pytest_llm.engines.lmstudio.endpoint import LMStudioEndpoint
from pytest_llm.engines.servers.client import AnswerError
from pytest_llm.engines.servers.engine import ServerEngine
from pytest_llm.engines.servers.started import free_port
from pytest_llm.errors import EngineError, WorkerHungError
from pytest_llm.records import Program
from pytest_llm.system.program import TimeLimitError, run_once

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLL_SECONDS = 0.1


class LMStudio(ServerEngine):
    """The engine. ``lms`` starts the daemon and its server, unless they run, until the engine is closed."""

    endpoint = LMStudioEndpoint
    _started_url = ""

    def connect(self) -> LMStudioEndpoint:
        """Return the interface of the server, started if ``lms`` was named and no daemon runs.

        Raises:
            EngineError: It does not start.
        """
        if isinstance(self._reference, Program) and not self._started_url:
            self._start(self._reference.path)
        return LMStudioEndpoint(self._url(), str(self._reference), self._timeout)

    def _start(self, lms: str) -> None:
        if self._is_up(lms):
            return  # it is the user's, and so is its server
        self._run(lms, "daemon", "up", "--json")
        port = free_port()
        self._started_url = f"http://127.0.0.1:{port}"
        try:
            self._run(lms, "server", "start", "--port", str(port))
            self._await(LMStudioEndpoint(self._started_url, str(self._reference), self._timeout))
        except EngineError:
            self.close()
            raise

    def _is_up(self, lms: str) -> bool:
        told = self._run(lms, "daemon", "status", "--json")
        try:
            answer = json.loads(told)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("status"), str):
            raise EngineError(
                f"{self._reference}: `lms daemon status --json` tells no status: name lms itself"
            )
        return bool(answer["status"] == "running")

    def _await(self, endpoint: LMStudioEndpoint) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                endpoint.client.get("/api/v1/models")
            except AnswerError as error:
                if time.monotonic() > deadline:
                    raise WorkerHungError(
                        f"{self._reference}: its server {error}, {self._timeout:g} s after it was started"
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                endpoint.close()
                return

    def _run(self, lms: str, *words: str) -> str:
        environment = {**worker_environment(os.environ), "HOME": os.environ.get("HOME", "")}
        command: Sequence[str] = (lms, *words)
        try:
            ended = run_once(command, environment, self._timeout)
        except TimeLimitError as error:
            raise WorkerHungError(
                f"{self._reference}: lms {' '.join(words)} did not end in {self._timeout:g} s", error.log
            ) from None
        except OSError as error:
            raise EngineError(f"{self._reference}: lms cannot be run: {error.strerror or error}") from None
        if ended.status:
            raise EngineError(
                f"{self._reference}: lms {' '.join(words)} failed (exit status {ended.status}): see its last "
                "lines",
                ended.last_lines(),
            )
        return ended.output

    def close(self) -> None:
        """Stop what was started."""
        if self._started_url and isinstance(self._reference, Program):
            self._started_url = ""
            for words in (("server", "stop"), ("daemon", "down")):
                try:
                    self._run(self._reference.path, *words)
                except EngineError:  # it has ended
                    continue

    def default_url(self) -> str:
        return self._started_url or super().default_url()
