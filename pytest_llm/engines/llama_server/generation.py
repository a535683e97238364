"""A subject in a server that generates, and tells how likely each token is (``n_probs``)."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, NoReturn

from pytest_llm.engines.llama_server.subject import ServerSubject
from pytest_llm.errors import NotCoveredError, RequestFailedError, UsageError
from pytest_llm.records.generation import Completion, GGUFModel, Greedy, Position, Sampling, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from pytest_llm.engines.llama_server.start import Started
    from pytest_llm.records import JSON, Build, Model, Passage, Subject
    from pytest_llm.records.generation import Likely

# A larger vocabulary's least likely tokens share what probability is left: an answer with all of them would
# take a second to send and to read.
_MOST_LIKELY = 2**16
# Probabilities of 32 bits are 0 below this, whose logarithm servers write as the least number.
_LEAST = -104.0
# What a template calls to write the date, which would be another output every day.
_DATES = ("strftime_now", "date_string")


class GeneratingServer(ServerSubject, GGUFModel):
    """A ``GGUFModel``: one server process."""

    takes_bytes = False

    def __init__(
        self,
        started: Started,
        build: Build,
        subject: Subject,
        model: Model,
        timeout: float,
        write_copy: Callable[[Model, Path, int, int], None],
    ) -> None:
        super().__init__(started, build, subject, model, timeout)
        self.info = model
        self._write_copy = write_copy

    @property
    def alive(self) -> bool:
        return self._process.alive

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._api.detokenize(tokens)

    def token_ids(self, contents: Sequence[bytes]) -> list[list[int]]:
        try:
            return [self.tokenize(each.decode()) for each in contents]
        except UnicodeDecodeError:
            raise RequestFailedError(f"{self.build}: a server takes texts in UTF-8 only") from None

    def render_chat(self, content: str) -> str:
        template = str(self._properties.get("chat_template", ""))
        if any(each in template for each in _DATES):
            raise NotCoveredError(f"{self.build}: its chat template writes today's date")
        return self._api.render_chat(content) if template else ""

    def open_stream(
        self, prompt: str | Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generator[Token, None, Completion]:
        sent: JSON = prompt if isinstance(prompt, str) else [*prompt]
        answer = self._api.generate(sent, max_tokens, sampling)
        if len(answer.texts) != len(answer.ids):
            raise RequestFailedError(f"{self.build}: the server put several tokens into a chunk")
        for token, text in zip(answer.ids, answer.texts, strict=True):
            yield Token(token, text)
        text = "".join(answer.texts)
        return Completion(text, answer.ids, "stop" if answer.ended else "length", answer.prompt)

    def top_logprobs(self, prompt: str | Sequence[int], k: int = 20) -> list[Position]:
        if k < 1:
            raise UsageError(f"top_logprobs: k={k} is less than 1")
        ids = self.tokenize(prompt) if isinstance(prompt, str) else [*prompt]
        found: list[Position] = []
        before: dict[int, float] = {}
        for at, token in enumerate(ids):
            likely = self._likely(ids[: at + 1])
            found.append(Position(token, before.get(token, _LEAST) if at else None, tuple(likely[:k])))
            before = {each.id: each.logprob for each in likely}
        return found

    def embeddings(self, texts: Sequence[Sequence[int]]) -> NoReturn:  # noqa: ARG002
        raise self._not_covered("embeddings")

    def write_logits(self, path: Path, passages: Sequence[Passage], generate: int) -> Greedy:
        greedy = Greedy((), ())
        try:
            with path.open("wb") as out:
                for number, passage in enumerate(passages):
                    if passage.start or len(passage.sequences) > 1:
                        raise self._not_covered("tokens beyond empty positions, or of several sequences")
                    (ids,) = passage.sequences
                    for at in passage.steps():
                        out.write(self._row(ids[: at + 1]).tobytes())
                    if generate and not number:
                        greedy = self._greedy(ids, generate)
        except OSError as error:
            raise RequestFailedError(
                f"{self.build}: logits cannot be written to {path}: {error.strerror}"
            ) from None
        return greedy

    def write_copy(self, target: Path, file_type: int = 0) -> None:
        self._write_copy(self.info, target, self._options.n_threads, file_type)

    def _greedy(self, ids: Sequence[int], count: int) -> Greedy:
        answer = self._api.generate([*ids], count, Sampling(), probabilities=2)
        told = len(answer.ids) == len(answer.arrivals) == len(answer.leads)
        return Greedy(answer.ids, answer.leads if told else ())

    def _likely(self, ids: Sequence[int]) -> list[Likely]:
        return self._api.likely(ids, min(_MOST_LIKELY, self.info.vocabulary_size))

    def _row(self, ids: Sequence[int]) -> array[float]:
        """Return the log-probability of every token after ids."""
        likely = self._likely(ids)
        others = self.info.vocabulary_size - len(likely)
        left = 1 - math.fsum(math.exp(max(_LEAST, each.logprob)) for each in likely)
        rest = max(_LEAST, math.log(left / others)) if others and left > 0 else _LEAST
        row = array("f", [rest]) * self.info.vocabulary_size
        for each in likely:
            row[each.id] = each.logprob if math.isnan(each.logprob) else max(_LEAST, each.logprob)
        return row
