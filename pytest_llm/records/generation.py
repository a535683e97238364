"""Generation: how tokens are picked, what a model answered, and the loaded model that answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pytest_llm.errors import UsageError
from pytest_llm.records.schema import Count

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.records.output import Passage
    from pytest_llm.records.subject import JSON, Build, Model


@dataclass(frozen=True)
class Sampling:
    """Choice of the next token: greedy at temperature 0, otherwise drawn with the seed."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Token:
    """A generated token; ``text`` is "" while a character of several tokens is unfinished."""

    id: int
    text: str


@dataclass(frozen=True)
class Completion:
    """The answer of a model.

    Attributes:
        text: Without the stop text that ended it.
        tokens: The generated ids.
        finish: "stop" at an end-of-generation token or a stop text, "length" at ``max_tokens``.
        prompt_tokens: Tokens of the prompt.
    """

    text: str
    tokens: tuple[int, ...]
    finish: Literal["stop", "length"]
    prompt_tokens: int


@dataclass(frozen=True)
class Greedy:
    """Tokens of greedy generation.

    Attributes:
        tokens: Their ids.
        leads: The lead of each over the next likeliest token, in nats; empty if the release has no logits.
    """

    tokens: tuple[Count, ...]
    leads: tuple[float, ...]


@dataclass(frozen=True)
class Likely:
    """A possible next token, with the natural logarithm of its probability."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Position:
    """One position of a prompt.

    Attributes:
        token: The prompt's own token there.
        logprob: The natural logarithm of its probability after the tokens before it; None for the first.
        top: The likeliest next tokens, likeliest first.
    """

    token: int
    logprob: float | None
    top: tuple[Likely, ...]


class GGUFModel(ABC):
    """A model in a process of its own, as the fixture ``gguf_model`` gives it.

    A prompt is a text or a list of token ids. A text is tokenised with the special tokens that the model
    wants around it. Every call starts from an empty context.

    Every method may raise :class:`pytest_llm.errors.EngineError`: the engine refused, or its process ended.

    Attributes:
        info: The file and its header.
        build: The build that runs it.
        takes_bytes: Whether :meth:`token_ids` takes texts that are no UTF-8.
    """

    info: Model
    build: Build
    takes_bytes: ClassVar[bool] = True

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
            temperature: 0 takes the likeliest token each time; above 0, tokens are drawn.
            top_k: Draw from this many likeliest tokens; 0 means all.
            top_p: Draw from the likeliest tokens that make up this probability.
            seed: Equal seeds draw equal tokens.
            stop: Texts that end the answer; they are not part of it.
        """
        stops = [stop] if isinstance(stop, str) else list(stop)
        if stops:
            self.tokenize(stops[0])  # refused without a vocabulary, where no text could end an answer
        answer = self._stream(prompt, max_tokens, Sampling(temperature, top_k, top_p, seed))
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

        The caller may stop early; the next call of any method ends this one.
        """
        return self._stream(prompt, max_tokens, Sampling(temperature, top_k, top_p, seed))

    def embed(self, text: str | Sequence[int]) -> list[float]:
        """Return the embedding of a text or of token ids, as the model pools it.

        Without pooling it is the mean of the embeddings of all tokens.
        """
        return self.embeddings([self.tokenize(text) if isinstance(text, str) else text])[0]

    def _stream(
        self, prompt: str | Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generator[Token, None, Completion]:
        if max_tokens < 1:
            raise UsageError(f"max_tokens={max_tokens} is less than 1")
        return self.open_stream(prompt, max_tokens, sampling)

    @property
    @abstractmethod
    def alive(self) -> bool:
        """If its process still runs."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process that runs it: ``llm_memory.watch(gguf_model.pid)``."""

    @abstractmethod
    def load(self) -> float:
        """Load the model and make a context; return the seconds that took."""

    @abstractmethod
    def effective_options(self) -> Mapping[str, JSON]:
        """Return the load options as they really are, and what llama.cpp wrote about the rest."""

    @abstractmethod
    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: Any text.
            add_special: Add the special tokens that the model wants around a prompt.
            parse_special: Recognise special tokens written out in the text.
        """

    @abstractmethod
    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids, special tokens written out."""

    @abstractmethod
    def top_logprobs(self, prompt: str | Sequence[int], k: int = 20) -> list[Position]:
        """Return, for each position of a prompt, its token's log-probability and the ``k`` likeliest next."""

    @abstractmethod
    def open_stream(
        self, prompt: str | Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generator[Token, None, Completion]:
        """Yield tokens as they come; the return value is the whole answer."""

    @abstractmethod
    def token_ids(self, contents: Sequence[bytes]) -> Sequence[Sequence[int]]:
        """Return the token ids of texts that need not be UTF-8, special tokens added and recognised."""

    @abstractmethod
    def render_chat(self, content: str) -> str:
        """Return the model's chat template around a user's message, "" if there is none."""

    @abstractmethod
    def greedy(self, prompt: str, count: int) -> Greedy:
        """Return the tokens that follow a prompt greedily, with the lead of each."""

    @abstractmethod
    def embeddings(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the embedding of each text, given as token ids."""

    @abstractmethod
    def write_logits(self, path: Path, passages: Sequence[Passage], generate: int) -> Greedy:
        """Write the logits of every position to a file, one row of native 32-bit floats each.

        Log-probabilities will do: they are logits, shifted. Rows follow the passages, then a passage's steps
        (those that are kept), then its sequences. After the first passage so many
        tokens are generated greedily, and returned.
        """

    @abstractmethod
    def write_copy(self, target: Path, file_type: int = 0) -> None:
        """Write a copy of the model by llama.cpp's own quantiser; may be called before ``load``.

        Args:
            target: The file.
            file_type: Of enum ``llama_ftype``: 0 for weights that are floats of 32 bits.
        """

    @abstractmethod
    def close(self) -> None:
        """End the process; the plugin does this when pytest ends."""

    def __enter__(self) -> GGUFModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _first_stop(text: str, stops: Sequence[str]) -> int | None:
    found = [text.index(stop) for stop in stops if stop in text]
    return min(found) if found else None
