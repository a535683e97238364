"""text-generation-webui: the one that runs, by URL or where its API listens, or one that is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_llm.engines.llama_cpp_python.process import worker_environment
from pytest_llm.engines.servers.client import AnswerError
from pytest_llm.engines.servers.engine import ServerEngine
from pytest_llm.engines.servers.requests import RequestsSubject
from pytest_llm.engines.servers.started import StartedTool
from pytest_llm.engines.textgen.endpoint import TextgenEndpoint
from pytest_llm.records import Build, Command

if TYPE_CHECKING:
    from pytest_llm.records import LoadOptions, Model, Subject

_HEADLESS = ("--api", "--nowebui", "--portable", "--loader", "llama.cpp")


class Textgen(ServerEngine):
    """The engine. A command line, as in "venv/bin/python server.py", is started headless for each subject."""

    endpoint = TextgenEndpoint
    _tool: StartedTool | None = None

    def describe(self) -> Build:
        if isinstance(self._reference, Command):
            return Build(self._reference.engine, "", "", " ".join(self._reference.words))
        return super().describe()

    def start(self, subject: Subject, model: Model) -> RequestsSubject:
        """Return a subject to be measured; one that is started has its model loaded.

        Raises:
            EngineMissingError: The HTTP library is not installed.
            EngineError: It does not start.
        """
        found = TextgenEndpoint(self._url(), str(self._reference), self._timeout)
        if isinstance(self._reference, Command):
            self._start(self._reference.words, found, model, subject.load_options)
        return RequestsSubject(found, str(self._reference), subject, model)

    def _start(
        self, words: tuple[str, ...], endpoint: TextgenEndpoint, model: Model, options: LoadOptions
    ) -> None:
        def ready() -> bool:
            try:
                answer = endpoint.client.get("/internal/model/info")
            except AnswerError:
                return False
            return isinstance(answer, dict) and answer.get("model_name") not in (None, "None")

        tool = self._started_tool()
        folder, _, file = model.path.rpartition("/")
        command = [*words, *_HEADLESS, "--api-port", str(tool.port)]
        command += ["--user-data-dir", str(tool.folder), "--model-dir", folder or ".", "--model", file]
        command += ["--ctx-size", str(options.n_ctx), "--threads", str(options.n_threads)]
        command += ["--threads-batch", str(options.n_threads_batch)]
        command += ["--gpu-layers", str(options.n_gpu_layers)] if options.n_gpu_layers >= 0 else []
        environment = {**worker_environment(os.environ), "HOME": str(tool.folder)}
        endpoint.after = tool.start(command, environment, ready, self._timeout)

    def _started_tool(self) -> StartedTool:
        if self._tool is None:
            self._tool = StartedTool(str(self._reference))
        return self._tool

    def close(self) -> None:
        if self._tool is not None:
            self._tool.close()
            self._tool = None

    def default_url(self) -> str:
        if isinstance(self._reference, Command):
            return f"http://127.0.0.1:{self._started_tool().port}"
        return super().default_url()
