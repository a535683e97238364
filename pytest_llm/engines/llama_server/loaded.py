"""A subject in a server: slices on one slot, and whole requests."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_llm.engines.invariants import invariants_of
from pytest_llm.engines.libraries import llama_library
from pytest_llm.engines.llama_cpp_python.load_log import read_counts
from pytest_llm.engines.llama_server.log import effective_options, features, messages_of
from pytest_llm.engines.llama_server.slot import Slot
from pytest_llm.engines.llama_server.words import Words
from pytest_llm.engines.load_mode import ProcessMemory, real_load_mode
from pytest_llm.engines.offload_check import OffloadCheck, devices_used
from pytest_llm.engines.servers.at_once import at_once
from pytest_llm.engines.thread_check import ThreadCheck
from pytest_llm.errors import NotCoveredError, RequestFailedError, WorkerHungError
from pytest_llm.records import Command, Series
from pytest_llm.records.generation import Greedy
from pytest_llm.records.protocols import EMBEDS_ONLY, Coverage
from pytest_llm.system.procfs import mapped_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_llm.engines.llama_server.start import Started
    from pytest_llm.records import JSON, Build, Model, Subject, Workload

_POLL_SECONDS = 0.005
_ANY_WORD = 1  # where no vocabulary says what is one


class LoadedServer:
    """A ``Loaded``: one server process."""

    continues = True

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
        self._random = random.Random(0)
        self._messages: list[str] = []
        self._properties: Mapping[str, Any] = {}
        self._words: Words | None = None
        self._slot: Slot | None = None
        self._workload: Workload | None = None
        self._code: frozenset[Path] = frozenset()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        """The URL that it listens on; of a server on a Unix socket only its own client can use it."""
        return self._started.client.url

    @property
    def prompt_batch(self) -> int:
        own = effective_options({}, self._messages, self._properties) if self._as_given else {}
        options = self._options
        return min(int(str(own.get(name, getattr(options, name)))) for name in ("n_batch", "n_ubatch"))

    def coverage(self, workload: Workload) -> Coverage:
        if workload.embed:
            return Coverage(slices=False, requests=False, reason=EMBEDS_ONLY)
        if workload.parallel == 1:
            return Coverage()
        if workload.depth:
            return Coverage(slices=False, requests=False, reason="parallel requests begin at depth 0")
        return Coverage(slices=False, under_load=True)

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
        self._offload.check_text(self._model.opened, name)
        if not self._as_given:
            self._offload.check_places(name)
        seconds = self._begin()
        mapped = mapped_files(self.pid)
        self._started.program.check_libraries(mapped)
        self._code = self._started.program.code(mapped)
        self._messages = messages_of(self._process.log())
        self._properties = self._api.properties(self._started.model)
        compiled_with, library = features(self._messages), llama_library(mapped)
        self.build = replace(self.build, library=library, compiled_with=compiled_with)
        self.on_gpu = bool(devices_used(self._messages))
        if not self._as_given:
            self.on_gpu &= self._options.n_gpu_layers != 0
            self._offload.check(self._messages, name, on_gpu=self.on_gpu)
            if not self.on_gpu:
                self._threads.check_environment(self.build)
        with suppress(RequestFailedError):  # no vocabulary
            self._words = Words(self._api.tokenize, self._random)
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
            asked = {**asdict(self._options), "lora": self._model.lora}
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

    def invariants(self) -> Mapping[str, JSON]:
        return invariants_of(self)

    def counts(self) -> Mapping[str, Series]:
        return {name: Series((float(each),)) for name, each in read_counts(self._messages).items()}

    def on_devices(self) -> Mapping[str, float]:
        return {}

    def inject_slowdown(self, share: float, stalls: float = 0.0) -> None:
        if share or stalls:
            raise self._not_covered("an injected slowdown")

    def rehearse(self, workload: Workload) -> float:
        self._offload.check_positions(workload, str(self.build))
        self._workload = workload
        if workload.parallel > 1:
            self.requests_at_once()
            return 0.0
        word = self._words.single if self._words else None
        word = _ANY_WORD if word is None else word
        self._slot = slot = Slot(self._api.force, self._model.vocabulary_size, word, self._random)
        steps = max(1, workload.generate_tokens - 1)
        slot.go_to(workload.depth)
        slot.read(workload.prompt_tokens)
        seconds = slot.generate(steps)
        slot.end_round()
        return seconds / steps

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        return tokens, self._rehearsed().read(tokens)

    def generation_slice(self, steps: int) -> tuple[int, float]:
        return steps, self._rehearsed().generate(steps)

    def end_round(self) -> None:
        self._rehearsed().end_round()

    def generate_steps(self, steps: int) -> int:
        slot = self._rehearsed()
        slot.generate(steps)
        slot.end_round()
        return steps

    def request(self) -> tuple[float, Sequence[float]]:
        """Send a text as a caller does, behind the ids of the depth, and stream the answer."""
        slot, workload = self._rehearsed(), self._workload
        assert workload is not None
        ids: list[JSON] = [*slot.depth]
        text = self._text(workload.prompt_tokens, add_special=not ids)
        prompt: JSON = [*ids, *text] if isinstance(text, list) else [*ids, text] if ids else text
        slot.empty()
        tokens = len(ids) + workload.prompt_tokens
        answer = self._api.request(prompt, tokens, len(ids), workload.generate_tokens)
        slot.forget()
        return answer.arrivals[0], answer.gaps

    def requests_at_once(self) -> Sequence[tuple[float, Sequence[float]]]:
        """Send the workload's parallel requests at the same moment, each to a slot of its own."""
        workload = self._workload
        assert workload is not None, "rehearse comes first"
        tokens, count = workload.prompt_tokens, workload.generate_tokens
        texts = [self._text(tokens, add_special=True) for _ in range(workload.parallel)]
        answers = at_once(
            [partial(self._api.request, text, tokens, 0, count, slot=slot) for slot, text in enumerate(texts)]
        )
        return [(each.arrivals[0], each.gaps) for each in answers]

    def embedding_slice(self) -> NoReturn:
        raise self._not_covered("embeddings")

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        return self._api.tokenize(text, add_special=add_special, parse_special=parse_special)

    def greedy(self, prompt: str, count: int) -> Greedy:
        answer = self._api.greedy(prompt, count)
        if len(answer.ids) != count:
            raise RequestFailedError(f"{self.build}: the server put several tokens into a chunk")
        return Greedy(answer.ids, answer.leads if len(answer.leads) == count else ())

    def graphs_reused(self) -> None:
        """Return None: no server counts them."""

    def suspend(self) -> None:
        self._process.suspend()

    def resume(self) -> None:
        self._process.resume()

    def log(self) -> str:
        return self._process.log()

    def close(self) -> None:
        self._started.close()

    def _text(self, tokens: int, *, add_special: bool) -> str | list[JSON]:
        text = self._words.write(tokens, add_special=add_special) if self._words else None
        if text is not None:
            return text
        return [self._random.randrange(self._model.vocabulary_size) for _ in range(tokens)]

    def _rehearsed(self) -> Slot:
        assert self._slot is not None, "rehearse comes first"
        return self._slot

    def _not_covered(self, what: str) -> NotCoveredError:
        return NotCoveredError(f"{self.build}: llama-server is not asked for {what}")
