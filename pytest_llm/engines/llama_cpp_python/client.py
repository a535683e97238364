"""A subject in a worker: each method is one request."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.invariants import invariants_of
from pytest_llm.engines.last_words import last_words
from pytest_llm.engines.libraries import computing
from pytest_llm.engines.llama_cpp_python.load_log import effective_options, read_counts
from pytest_llm.engines.load_mode import ProcessMemory, real_load_mode
from pytest_llm.engines.offload_check import OffloadCheck
from pytest_llm.engines.thread_check import ThreadCheck
from pytest_llm.errors import LoadRefusedError, RequestFailedError, UsageError
from pytest_llm.models.opened import loadable
from pytest_llm.records import Capability, Series
from pytest_llm.records.generation import Completion, GGUFModel, Greedy, Likely, Position, Token
from pytest_llm.records.metrics import COUNTED_INSTRUCTIONS
from pytest_llm.records.protocols import EMBEDS_ONLY, Coverage
from pytest_llm.system.procfs import mapped_files
from pytest_llm.system.sandbox import take_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.engines.llama_cpp_python.instructions import InstructionCounter
    from pytest_llm.engines.llama_cpp_python.process import WorkerProcess
    from pytest_llm.records import JSON, Adapter, Build, Model, Passage, Subject, Workload
    from pytest_llm.records.generation import Sampling


# An answer of more values is refused, as they take more memory than answers may.
_MOST_LOGPROBS = 800_000
_TEXTS_AT_ONCE = 128


class LoadedModel(GGUFModel):
    """A subject in its worker: a ``Loaded`` as well as a ``GGUFModel``."""

    def __init__(
        self,
        worker: WorkerProcess,
        build: Build,
        subject: Subject,
        model: Model,
        check_libraries: Callable[[], None],
        write_copy: Callable[[Path, int, int], None],
        instructions: InstructionCounter | None = None,
        *,
        all_logits: bool,
    ) -> None:
        self._worker = worker
        self._check_libraries = check_libraries
        self._write_copy = write_copy
        self._instructions = instructions
        self._load_options = subject.load_options
        self._all_logits = all_logits
        self._seed = 0
        self._free: list[dict[str, int]] = []
        self._offload = OffloadCheck(model.path, subject.load_options)
        self._threads = ThreadCheck(subject.load_options)
        self._capability = Capability()
        self._messages: list[str] = []
        self._counts: dict[str, Series] = {}
        self.info = model
        self.build = build
        self.on_gpu = False

    @property
    def pid(self) -> int:
        return self._worker.pid

    @property
    def alive(self) -> bool:
        return self._worker.alive

    @property
    def continues(self) -> bool:
        return True

    @property
    def prompt_batch(self) -> int:
        options = self._load_options
        # llama.cpp pipelines the ubatches of a batch over devices.
        pipelines = self.on_gpu and len(self._free[0]) > 1
        return options.n_batch if pipelines else min(options.n_batch, options.n_ubatch)

    def coverage(self, workload: Workload) -> Coverage:
        if workload.embed:
            reason = self._capability.embedding
            return Coverage(slices=not reason, requests=False, reason=reason or EMBEDS_ONLY)
        reason = self._capability.generation
        return Coverage(slices=not reason, requests=not reason, reason=reason)

    def libraries(self) -> frozenset[Path]:
        mapped = mapped_files(self.pid) or {self.build.library}  # not every system tells what is mapped
        return computing(mapped)

    def load(self) -> float:
        """Load the model and make a context; return the seconds that took.

        Raises:
            NotCoveredError: The file is no model.
            LoadRefusedError: llama.cpp refused; its last lines are in ``log``. Or the environment forbids the
                threads that were asked for.
            CPUFallbackError: Layers that were to go to a device are on the CPU.
            BuildError: A library of another build was loaded meanwhile, a backend's say.
        """
        self._offload.check_drafts(str(self.build))
        self._offload.check_model(str(self.build))
        self._offload.check_places(str(self.build))
        self._free = [self._worker.ask("free_memory")]
        try:
            with ExitStack() as files:
                answer = self._worker.ask(
                    "load",
                    path=files.enter_context(self._loadable(self.info)),
                    options=asdict(self._load_options),
                    all_logits=self._all_logits,
                    lora=[
                        [files.enter_context(self._loadable(each)), each.scale] for each in self.info.adapters
                    ],
                )
        except LoadRefusedError as error:
            if not error.log:  # refused before llama.cpp was asked
                raise
            words = last_words("\n".join(error.log))
            why = f": {words.cause}" if words.cause else "; its last lines say why"
            raise LoadRefusedError(f"{error}: {self.info.path}{why}", words.lines) from None
        self._check_libraries()
        self._capability = Capability(**answer["capability"])
        self.on_gpu = answer["on_gpu"]
        self._messages = answer["messages"]
        self._offload.check(self._messages, str(self.build), on_gpu=self.on_gpu)
        if not self.on_gpu:
            self._threads.check_environment(self.build)
        self._free.append(self._worker.ask("free_memory"))
        seconds: float = answer["seconds"]
        return seconds

    @contextmanager
    def _loadable(self, file: Model | Adapter) -> Iterator[str]:
        with loadable(file) as path:
            self._worker.name_path(path, file.path)
            yield path

    def effective_options(self) -> Mapping[str, JSON]:
        """Return the load options as they really are, with what llama.cpp wrote about the rest.

        Under ``memory`` is what was predicted of weights and cache, beside what llama.cpp wrote of it.
        """
        asked = {**asdict(self._load_options), "lora": self.info.lora}
        found = effective_options(asked, self._worker.ask("effective_options"), self._messages)
        buffers: Any = found.get("buffers_mib") or {}
        memory = ProcessMemory()
        memory.read(self.pid)
        if not self.on_gpu and self.info.layers:
            found.setdefault("layers_offloaded", f"0/{self.info.layers + 1}")  # as llama.cpp logs it
        return {
            **found,
            **real_load_mode(str(found["load_mode"]), memory, self.info.path, buffers, on_gpu=self.on_gpu),
            "threads_at_work": self._threads.at_once(),
            "memory": self._offload.memory(self._messages, on_gpu=self.on_gpu),
        }

    def invariants(self) -> Mapping[str, JSON]:
        return invariants_of(self)

    def inject_slowdown(self, share: float, stalls: float = 0.0) -> None:
        """Make slices and requests take ``share`` more of the time of their decodes, by keeping the CPU busy.

        Raises:
            RequestFailedError: A share is negative or not finite.
        """
        self._worker.ask("inject_slowdown", share=share, stalls=stalls)

    def rehearse(self, workload: Workload) -> float:
        self._seed += 1
        self._offload.check_positions(workload, str(self.build))
        if self._instructions is not None:
            self._counts[COUNTED_INSTRUCTIONS] = self._instructions.count(self, workload)
        answer = self._worker.ask("rehearse", **asdict(workload), seed=self._seed)
        told = {**read_counts(self._messages), "graphs_reused": answer["graphs_reused"]}
        self._counts |= {name: Series((float(each),)) for name, each in told.items() if each is not None}
        self._free[2:] = [self._worker.ask("free_memory")]
        asked = self._load_options.n_threads_batch if workload.embed else self._load_options.n_threads
        if not self.on_gpu and asked > 1 and self._threads.can_be_counted(self.build):
            counted = self._worker.ask("count_threads")
            if counted is not None:
                self._threads.check_counted(self.build, asked, **counted)
        return float(answer["step_seconds"])

    def counts(self) -> Mapping[str, Series]:
        return dict(self._counts)

    def on_devices(self) -> Mapping[str, float]:
        before, *later = self._free
        return {
            name: float(max(0, free - min(each.get(name, free) for each in later)))
            for name, free in before.items()
        }

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        read, seconds = self._worker.ask("prompt_slice", tokens=tokens)
        return read, seconds

    def generation_slice(self, steps: int) -> tuple[int, float]:
        tokens, seconds = self._worker.ask("generation_slice", steps=steps)
        return tokens, seconds

    def embedding_slice(self) -> tuple[int, float]:
        tokens, seconds = self._worker.ask("embedding_slice")
        return tokens, seconds

    def end_round(self) -> None:
        self._worker.ask("end_round")

    def generate_steps(self, steps: int) -> int:
        tokens: int = self._worker.ask("generate_steps", steps=steps)
        return tokens

    def request(self) -> tuple[float, Sequence[float]]:
        first_token, inter_token = self._worker.ask("request")
        return first_token, inter_token

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        tokens: list[int] = self._worker.ask(
            "tokenize", content=text, add_special=add_special, parse_special=parse_special
        )
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        text: str = self._worker.ask("detokenize", tokens=list(tokens))
        return text

    def open_stream(
        self, prompt: str | Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generator[Token, None, Completion]:
        self._worker.ask("stream_open", prompt=_prompt(prompt), max_tokens=max_tokens, **asdict(sampling))
        tokens: list[Token] = []
        while True:
            answer = self._worker.ask("stream_next")
            if "finish" in answer:
                text = "".join(token.text for token in tokens) + answer["text"]
                ids = tuple(token.id for token in tokens)
                return Completion(text, ids, answer["finish"], answer["prompt_tokens"])
            tokens.append(Token(answer["token"], answer["text"]))
            yield tokens[-1]

    def graphs_reused(self) -> int | None:
        """Return how often a decode used the compute graph of the one before; None if nothing counts it."""
        count: int | None = self._worker.ask("graphs_reused")
        return count

    def count_instructions(self, held: int, steps: int, folder: str = "") -> tuple[float | None, str]:
        answer = self._worker.ask("count_instructions", held=held, steps=steps, folder=folder)
        return answer["instructions"], answer["reason"]

    def top_logprobs(self, prompt: str | Sequence[int], k: int = 20) -> list[Position]:
        if k < 1:
            raise UsageError(f"top_logprobs: k={k} is less than 1")
        positions = min(len(prompt.encode() if isinstance(prompt, str) else prompt), self._load_options.n_ctx)
        if positions * min(k, self.info.vocabulary_size or k) > _MOST_LOGPROBS:
            raise UsageError(
                f"top_logprobs: k={k} at up to {positions} positions is more than {_MOST_LOGPROBS} "
                "log-probabilities: lower k, or give a shorter prompt"
            )
        return [
            Position(entry["token"], entry["logprob"], tuple(Likely(*likely) for likely in entry["top"]))
            for entry in self._worker.ask("top_logprobs", prompt=_prompt(prompt), top_k=k)
        ]

    def token_ids(self, contents: Sequence[bytes]) -> list[list[int]]:
        ids: list[list[int]] = self._worker.ask("token_ids", contents=[each.hex() for each in contents])
        return ids

    def render_chat(self, content: str) -> str:
        chat: str = self._worker.ask("render_chat", content=content)
        return chat

    def greedy(self, prompt: str, count: int) -> Greedy:
        tokens, leads = self._worker.ask("greedy", prompt=prompt, count=count)
        return Greedy(tuple(tokens), tuple(leads))

    def embeddings(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some: JSON = [list(each) for each in texts[start : start + _TEXTS_AT_ONCE]]
            vectors += self._worker.ask("embed", texts=some)
        return vectors

    def write_logits(self, path: Path, passages: Sequence[Passage], generate: int) -> Greedy:
        folder = self._worker.sandbox.folder
        own = folder / path.name if folder else path
        made = [
            self._write(own, each, 0 if number else generate, more=number > 0)
            for number, each in enumerate(passages)
        ]
        if own != path:
            try:
                take_file(own, path)
            except OSError as error:
                raise RequestFailedError(
                    f"{self.build}: logits cannot be written to {path}: {error.strerror}"
                ) from None
        return made[0]

    def _write(self, path: Path, passage: Passage, generate: int, *, more: bool) -> Greedy:
        # One request an ubatch: the timeout is for an answer, and a full context may take many times as long.
        piece = self._load_options.n_ubatch
        for start in range(0, len(passage.before), piece):
            self._worker.ask("fill", tokens=list(passage.before[start : start + piece]), start=start)
        tokens, leads = self._worker.ask(
            "write_logits",
            path=str(path),
            passage={name: each for name, each in asdict(passage).items() if name != "before"},
            generate=generate,
            more=more,
            filled=bool(passage.before),
        )
        return Greedy(tuple(tokens), tuple(leads))

    def write_copy(self, target: Path, file_type: int = 0) -> None:
        self._write_copy(target, self._load_options.n_threads, file_type)

    def suspend(self) -> None:
        self._worker.suspend()

    def resume(self) -> None:
        self._worker.resume()

    def log(self) -> str:
        return self._worker.log()

    def messages(self) -> Sequence[str]:
        """Return what llama.cpp wrote of devices, buffers and options while it loaded, one by one."""
        return self._messages

    def close(self) -> None:
        self._worker.close()


def _prompt(prompt: str | Sequence[int]) -> JSON:
    return prompt if isinstance(prompt, str) else list(prompt)
