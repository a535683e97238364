"""What the fixture ``gguf_model`` hands out: a loaded model to talk with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.errors import UsageError
from pytest_llm.records.generation import Completion, Sampling

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from pytest_llm.records import JSON, Build, Model
    from pytest_llm.records.generation import Position, Token
    from pytest_llm.records.protocols import GenerationSession


class GGUFModel:
    """A model in a process of its own, kept for the whole run of pytest.

    A prompt is a text, which is tokenised with the model's special tokens recognised and its beginning-of-
    sequence token added if it wants one, or a list of token ids, taken as it is. Every call starts from an
    empty context.

    Every method may raise :class:`pytest_llm.errors.EngineError`: the engine refused, or its process ended.

    Attributes:
        info: The file and its header.
        build: The build that runs it.
    """

    def __init__(self, loaded: GenerationSession, info: Model) -> None:
        """Take over a loaded subject."""
        self._loaded = loaded
        self.info: Model = info
        self.build: Build = loaded.build

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._loaded.alive

    @property
    def pid(self) -> int:
        """The process that runs it: ``llm_memory.watch(gguf_model.pid)``."""
        return self._loaded.pid

    @property
    def effective_options(self) -> Mapping[str, JSON]:
        """The load options as they really are, and what llama.cpp wrote about the rest."""
        return self._loaded.effective_options()

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 64,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: str | Sequence[str] = (),
    ) -> Completion:
        """Return the model's answer.

        Args:
            prompt: Text or token ids.
            max_tokens: The most to generate, at least 1.
            temperature: 0 takes the likeliest token each time; above, it is drawn.
            top_k: Draw from so many likeliest tokens; 0 means all.
            top_p: Draw from the likeliest tokens that make up this probability.
            seed: Equal seeds draw equal tokens.
            stop: Texts that end the answer; they are not part of it.
        """
        stops = [stop] if isinstance(stop, str) else list(stop)
        sampling = Sampling(temperature, top_k, top_p, seed)
        answer = self._open(prompt, max_tokens, sampling)
        text = ""
        ids: list[int] = []
        while True:
            try:
                token = next(answer)
            except StopIteration as end:
                completion: Completion = end.value
                cut = _first_stop(completion.text, stops)
                if cut is None:
                    return completion
                return Completion(completion.text[:cut], completion.tokens, "stop", completion.prompt_tokens)
            ids.append(token.id)
            text += token.text
            cut = _first_stop(text, stops)
            if cut is not None:
                prompt_tokens = len(self.tokenize(prompt) if isinstance(prompt, str) else prompt)
                return Completion(text[:cut], tuple(ids), "stop", prompt_tokens)

    def stream(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 64,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[Token]:
        """Yield tokens as they are generated; arguments as for :meth:`generate`.

        Stopping early is fine; starting another call ends this one.
        """
        return self._open(prompt, max_tokens, Sampling(temperature, top_k, top_p, seed))

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: Any text.
            add_special: Add the special tokens that the model wants around a prompt.
            parse_special: Recognise special tokens written out in the text.
        """
        return self._loaded.tokenize(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids, special tokens written out."""
        return self._loaded.detokenize(tokens)

    def top_logprobs(self, prompt: str | Sequence[int], k: int = 20) -> list[Position]:
        """Return, for each position of a prompt, its token's log-probability and the ``k`` likeliest next."""
        if k < 1:
            raise UsageError(f"top_logprobs: k={k} is less than 1")
        return self._loaded.top_logprobs(prompt, k)

    def close(self) -> None:
        """End the process; the plugin does this when pytest ends."""
        self._loaded.close()

    def _open(
        self, prompt: str | Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generator[Token, None, Completion]:
        if max_tokens < 1:
            raise UsageError(f"max_tokens={max_tokens} is less than 1")
        return self._loaded.stream(prompt, max_tokens, sampling)


def _first_stop(text: str, stops: Sequence[str]) -> int | None:
    found = [text.index(stop) for stop in stops if stop in text]
    return min(found) if found else None
