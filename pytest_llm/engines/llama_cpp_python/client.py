"""A subject in a worker: each method is one request."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.llama_cpp_python.invariants import facts_of
from pytest_llm.engines.llama_cpp_python.load_log import resolved_options
from pytest_llm.engines.offload_check import Devices
from pytest_llm.errors import LoadRefusedError
from pytest_llm.records.generation import Completion, Greedy, Likely, Position, Token
from pytest_llm.records.protocols import Coverage

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.engines.llama_cpp_python.process import WorkerProcess
    from pytest_llm.records import JSON, Build, Model, Passage, Subject, Workload
    from pytest_llm.records.generation import Sampling


class LoadedModel:
    """A subject in its worker: a ``Loaded`` and a ``GenerationSession``."""

    def __init__(
        self,
        worker: WorkerProcess,
        build: Build,
        subject: Subject,
        model: Model,
        *,
        all_logits: bool,
    ) -> None:
        self._worker = worker
        self._subject = subject
        self._model = model
        self._all_logits = all_logits
        self._seed = 0
        self._free: list[dict[str, int]] = []
        self._devices = Devices(model.path, subject.load_options)
        self.build = build
        self.on_gpu = False

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._worker.pid

    @property
    def alive(self) -> bool:
        """Whether the worker still runs."""
        return self._worker.alive

    def coverage(self, workload: Workload) -> Coverage:  # noqa: ARG002
        """Return what can be measured of a workload: everything."""
        return Coverage()

    def load(self) -> float:
        """Load the model and make a context; return the seconds that took.

        Raises:
            LoadRefusedError: llama.cpp refused; its last lines are in ``log``.
            CPUFallbackError: Layers that were to go to a device are on the CPU.
        """
        self._free = [self._free_memory()]
        try:
            answer = self._worker.ask(
                "load",
                path=self._model.path,
                options=asdict(self._subject.load_options),
                all_logits=self._all_logits,
            )
        except LoadRefusedError as error:
            if not error.log:  # refused before llama.cpp was asked
                raise
            raise LoadRefusedError(
                f"{error}: {self._model.path}; its last lines say why",
                error.log,
            ) from None
        fields = mapping(answer)
        self.on_gpu = bool(fields["on_gpu"])
        self._devices.check(self.log(), str(self.build), on_gpu=self.on_gpu)
        self._free.append(self._free_memory())
        return float(fields["seconds"])

    def effective_options(self) -> Mapping[str, JSON]:
        """Return the load options as they really are, with what llama.cpp wrote about the rest.

        Under ``memory`` is what was predicted of weights and cache, beside what llama.cpp wrote of it.
        """
        told = mapping(self._worker.ask("effective_options"))
        log = self.log()
        found = resolved_options(asdict(self._subject.load_options), told, log)
        return {**found, "memory": self._devices.memory(log, on_gpu=self.on_gpu)}

    def invariants(self) -> Mapping[str, JSON]:
        """Return what the subject shows on every machine of its kind."""
        return facts_of(self)

    def inject_slowdown(self, share: float) -> None:
        """Make slices and requests take ``share`` more of the time of their decodes, by keeping the CPU busy.

        Raises:
            RequestFailedError: The share is negative or not finite.
        """
        self._worker.ask("inject_slowdown", share=share)

    def rehearse(self, workload: Workload) -> None:
        """Go through one whole request untimed, then stand at the workload's depth."""
        self._seed += 1
        self._worker.ask("rehearse", **asdict(workload), seed=self._seed)
        self._free[2:] = [self._free_memory()]

    def on_devices(self) -> Mapping[str, float]:
        """Return how many bytes more of each device are in use than before the load, as ggml tells it."""
        before, *later = self._free
        return {
            name: float(max(0, free - min(each.get(name, free) for each in later)))
            for name, free in before.items()
        }

    def _free_memory(self) -> dict[str, int]:
        return {name: int(size) for name, size in mapping(self._worker.ask("free_memory")).items()}

    def prompt_slice(self) -> tuple[int, float]:
        """Time one ubatch of fresh prompt: tokens and seconds."""
        return _slice(self._worker.ask("prompt_slice"))

    def generation_slice(self, steps: int) -> tuple[int, float]:
        """Time ``steps`` decodes of one token a sequence: tokens and seconds."""
        return _slice(self._worker.ask("generation_slice", steps=steps))

    def generate(self, steps: int) -> int:
        """Generate so many tokens a sequence, untimed, and go back to the depth; return how many in all."""
        tokens: Any = self._worker.ask("generate", steps=steps)
        return int(tokens)

    def request(self) -> tuple[float, Sequence[float]]:
        """Run one whole request: seconds to the first token, then between neighbouring tokens."""
        answer = mapping(self._worker.ask("request"))
        return float(answer["first_token"]), [float(value) for value in answer["inter_token"]]

    def tokenize(self, content: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Return the token ids of a text."""
        tokens: Any = self._worker.ask(
            "tokenize", content=content, add_special=add_special, parse_special=parse_special
        )
        return list(tokens)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids."""
        return str(self._worker.ask("detokenize", tokens=list(tokens)))

    def stream(
        self, prompt: str | Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generator[Token, None, Completion]:
        """Yield tokens as they come; the return value is the whole answer."""
        self._worker.ask("stream_open", prompt=_prompt(prompt), max_tokens=max_tokens, **asdict(sampling))
        tokens: list[Token] = []
        while True:
            answer = mapping(self._worker.ask("stream_next"))
            if "finish" in answer:
                text = "".join(token.text for token in tokens) + answer["text"]
                ids = tuple(token.id for token in tokens)
                return Completion(text, ids, answer["finish"], answer["prompt_tokens"])
            tokens.append(Token(answer["token"], answer["text"]))
            yield tokens[-1]

    def graphs_reused(self) -> int | None:
        """Return how often a decode could use the compute graph of the one before; None if nobody counts."""
        count: Any = self._worker.ask("graphs_reused")
        return None if count is None else int(count)

    def top_logprobs(self, prompt: str | Sequence[int], top_k: int) -> list[Position]:
        """Return what was likely at each position of a prompt."""
        answer: Any = self._worker.ask("top_logprobs", prompt=_prompt(prompt), top_k=top_k)
        return [
            Position(entry["token"], entry["logprob"], tuple(Likely(*likely) for likely in entry["top"]))
            for entry in answer
        ]

    def token_ids(self, contents: Sequence[bytes]) -> list[list[int]]:
        """Return the token ids of texts that need not be UTF-8, special tokens added and recognised."""
        answer: Any = self._worker.ask("token_ids", contents=[each.hex() for each in contents])
        return [list(each) for each in answer]

    def render_chat(self, content: str) -> str:
        """Return the rendered chat template, "" where llama.cpp's own renderer knows none."""
        return str(self._worker.ask("render_chat", content=content))

    def greedy(self, prompt: str, count: int) -> Greedy:
        """Return the tokens that follow a prompt greedily, and how clear each choice was."""
        answer = mapping(self._worker.ask("greedy", prompt=prompt, count=count))
        return Greedy(tuple(answer["tokens"]), tuple(answer["leads"]))

    def write_logits(self, path: Path, passages: Sequence[Passage], generate: int) -> Greedy:
        """Write the logits of every position to a file; return what was generated after the first passage."""
        made = [
            self._write(path, each, 0 if number else generate, more=number > 0)
            for number, each in enumerate(passages)
        ]
        return made[0]

    def _write(self, path: Path, passage: Passage, generate: int, *, more: bool) -> Greedy:
        # One request an ubatch: the timeout is for an answer, and a full context may take many times as long.
        piece = self._subject.load_options.n_ubatch
        for start in range(0, len(passage.before), piece):
            self._worker.ask("fill", tokens=list(passage.before[start : start + piece]), start=start)
        asked: dict[str, JSON] = {
            "sequences": [list(ids) for ids in passage.sequences],
            "start": passage.start,
            "singly": passage.singly,
        }
        answer = mapping(
            self._worker.ask(
                "write_logits",
                path=str(path),
                passage=asked,
                generate=generate,
                more=more,
                filled=bool(passage.before),
            )
        )
        return Greedy(tuple(answer["tokens"]), tuple(answer["leads"]))

    def write_f32(self, target: Path) -> None:
        """Write a copy of the model whose weights are 32-bit floats; nothing need be loaded."""
        threads = self._subject.load_options.n_threads
        self._worker.ask("write_f32", source=self._model.path, target=str(target), threads=threads)

    def suspend(self) -> None:
        """Stop every thread of the worker until :meth:`resume`."""
        self._worker.suspend()

    def resume(self) -> None:
        """Let the worker go on."""
        self._worker.resume()

    def log(self) -> str:
        """Return everything that llama.cpp wrote so far."""
        return self._worker.log()

    def close(self) -> None:
        """End the worker."""
        self._worker.close()


def _prompt(prompt: str | Sequence[int]) -> JSON:
    return prompt if isinstance(prompt, str) else list(prompt)


def _slice(answer: JSON) -> tuple[int, float]:
    fields = mapping(answer)
    return int(fields["tokens"]), float(fields["seconds"])


def mapping(answer: JSON) -> dict[str, Any]:
    """Return an answer that is an object of JSON."""
    assert isinstance(answer, dict), answer
    return answer
