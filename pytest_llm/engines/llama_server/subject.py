"""A server with its model loaded: how it starts, what it really has, and how it ends."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.libraries import llama_library
from pytest_llm.engines.llama_server.log import effective_options, features, messages_of, without_draft
from pytest_llm.engines.load_mode import ProcessMemory, real_load_mode
from pytest_llm.engines.offload_check import OffloadCheck, devices_used
from pytest_llm.engines.thread_check import ThreadCheck
from pytest_llm.errors import NotCoveredError, RequestFailedError, WorkerHungError
from pytest_llm.records import Command
from pytest_llm.records.generation import Greedy
from pytest_llm.system.procfs import mapped_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_llm.engines.llama_server.start import Started
    from pytest_llm.records import JSON, Build, Model, Subject

_POLL_SECONDS = 0.005


class ServerSubject:
    """One server process with a subject."""

    def __init__(
        self, started: Started, build: Build, subject: Subject, model: Model, timeout: float
    ) -> None:
        self.build = build
        self.on_gpu = False
        self._started = started
        self._process = started.process
        self._api = started.api
        self._options = subject.load_options
        self._as_given = isinstance(subject.build, Command)  # a command line, which no load option changes
        self._model = model
        self._timeout = timeout
        self._offload = OffloadCheck(model.path, subject.load_options)
        self._threads = ThreadCheck(subject.load_options)
        self._messages: list[str] = []
        self._properties: Mapping[str, Any] = {}
        self._code: frozenset[Path] = frozenset()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        """The URL that it listens on; of a server on a Unix socket only its own client can use it."""
        return self._started.client.url

    def libraries(self) -> frozenset[Path]:
        return self._code

    def load(self) -> float:
        """Let the server start and load; return the seconds until it is ready.

        Raises:
            NotCoveredError: The file is no model that generates.
            LoadRefusedError: The server refused; its last lines are in ``log``.
            CPUFallbackError: Layers that were to go to a device are on the CPU.
            BuildError: The server has libraries of another build.
            EngineError: It died, or was not ready in time.
        """
        name = str(self.build)
        self._offload.check_generates(name)
        self._offload.check_text(self._model.all_opened, name)
        if not self._as_given:
            self._offload.check_places(name)
        seconds = self._begin()
        mapped = mapped_files(self.pid)
        self._started.program.check_libraries(mapped)
        self._code = self._started.program.code(mapped)
        self._messages = without_draft(messages_of(self._process.log()))
        self._properties = self._api.properties(self._started.model)
        compiled_with, library = features(self._messages), llama_library(mapped)
        self.build = replace(self.build, library=library, compiled_with=compiled_with)
        self.on_gpu = bool(devices_used(self._messages))
        if not self._as_given:
            self.on_gpu &= self._options.n_gpu_layers != 0
            self._offload.check(self._messages, name, on_gpu=self.on_gpu)
            if not self.on_gpu:
                self._threads.check_environment(self.build)
        return seconds

    def _begin(self) -> float:
        started = time.perf_counter()
        self._process.begin()
        while not self._api.is_ready():
            if time.perf_counter() - started > self._timeout:
                raise WorkerHungError(
                    f"{self.build}: the server was not ready after {self._timeout:g} s: raise --llm-timeout "
                    "if the machine is that slow",
                    self._process.last_lines(),
                )
            self._process.wait_for_log(_POLL_SECONDS)
        return time.perf_counter() - started

    def effective_options(self) -> Mapping[str, JSON]:
        asked: dict[str, JSON] = {}
        if not self._as_given:
            draft = self._model.draft
            asked = {**asdict(self._options), "lora": self._model.lora}
            asked["draft_model"] = draft.sha256[:12] if draft else ""
        found = effective_options(asked, self._messages, self._properties)
        buffers: Any = found.get("buffers_mib") or {}
        memory = ProcessMemory()
        memory.read(self.pid)
        if not self.on_gpu and self._model.layers:
            found.setdefault("layers_offloaded", f"0/{self._model.layers + 1}")  # as llama.cpp logs it
        mode, path = str(found.get("load_mode", "auto")), self._model.path
        return {
            **found,
            **real_load_mode(mode, memory, path, buffers, on_gpu=self.on_gpu),
            **({} if self._as_given else self._asked_for()),
        }

    def _asked_for(self) -> dict[str, JSON]:
        memory = self._offload.memory(self._messages, on_gpu=self.on_gpu)
        return {"threads_at_work": self._threads.at_once(), "memory": memory}

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        return self._api.tokenize(text, add_special=add_special, parse_special=parse_special)

    def greedy(self, prompt: str | Sequence[int], count: int) -> Greedy:
        answer = self._api.greedy(prompt if isinstance(prompt, str) else [*prompt], count)
        if len(answer.ids) != count:
            raise RequestFailedError(f"{self.build}: the server put several tokens into a chunk")
        return Greedy(answer.ids, answer.leads if len(answer.leads) == count else ())

    def log(self) -> str:
        return self._process.log()

    def close(self) -> None:
        self._started.close()

    def _not_covered(self, what: str) -> NotCoveredError:
        return NotCoveredError(f"{self.build}: llama-server is not asked for {what}")
