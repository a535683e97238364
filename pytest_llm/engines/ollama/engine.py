"""Ollama: the one that runs already, by URL or where it listens by default, or one that is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_llm.engines import ENGINES, OLLAMA
from pytest_llm.engines.llama_cpp_python.process import worker_environment
from pytest_llm.engines.ollama.endpoint import OllamaEndpoint
from pytest_llm.engines.servers.client import AnswerError
from pytest_llm.engines.servers.engine import ServerEngine
from pytest_llm.engines.servers.started import StartedTool
from pytest_llm.records import Program

if TYPE_CHECKING:
    from pytest_llm.engines.ollama.imports import Imports

# Where it listens and keeps models is not the user's to choose for one that is started here.
_OURS = ("OLLAMA_HOST", "OLLAMA_MODELS")


class Ollama(ServerEngine):
    """The engine. What it imports stays until it is closed."""

    endpoint = OllamaEndpoint
    _imports: Imports | None = None
    _tool: StartedTool | None = None

    def connect(self) -> OllamaEndpoint:
        """Return the interface of the server, started if a program was named; it ends with the interface.

        Raises:
            EngineError: It does not start.
        """
        found = OllamaEndpoint(self._url(), str(self._reference), self._timeout)
        # What one has imported serves the others.
        if self._imports is None:
            self._imports = found.imports
        found.imports = self._imports
        if isinstance(self._reference, Program):
            self._start(self._reference.path, found)
        return found

    def _start(self, program: str, endpoint: OllamaEndpoint) -> None:
        def ready() -> bool:
            try:
                endpoint.client.get("/api/version")
            except AnswerError:
                return False
            return True

        tool = self._started_tool()
        own = {name: value for name, value in os.environ.items() if name.startswith("OLLAMA_")}
        environment = {
            **worker_environment(os.environ),
            **{name: value for name, value in own.items() if name not in _OURS},
            "HOME": str(tool.folder),
            "OLLAMA_HOST": f"127.0.0.1:{tool.port}",
            "OLLAMA_MODELS": str(tool.folder / "models"),
            "OLLAMA_NO_CLOUD": "1",
        }
        endpoint.after = tool.start([program, "serve"], environment, ready, self._timeout)

    def _started_tool(self) -> StartedTool:
        if self._tool is None:
            self._tool = StartedTool(str(self._reference))
        return self._tool

    def close(self) -> None:
        if self._imports is not None and self._tool is None:  # its store goes with it
            self._imports.remove()
        if self._tool is not None:
            self._tool.close()
            self._tool = None

    def default_url(self) -> str:
        if isinstance(self._reference, Program):
            return f"http://127.0.0.1:{self._started_tool().port}"
        return url_of(os.environ.get("OLLAMA_HOST", ""))


def url_of(host: str) -> str:
    """Return where Ollama listens, by its own variable: "", "0.0.0.0", "host:1234", "http://host"."""
    scheme, mark, rest = host.rpartition("://")
    name, _, port = rest.strip("/").partition(":")
    name = "127.0.0.1" if name in ("", "0.0.0.0") else name
    return f"{scheme if mark else 'http'}://{name}:{port or ENGINES[OLLAMA].port}"
