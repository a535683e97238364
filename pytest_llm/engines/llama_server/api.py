"""HTTP interface of one llama-server; errors name the build, what the server was doing and its last lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.engines.llama_server.completion import read_completion
from pytest_llm.engines.servers.client import (
    AnswerError,
    ClosedError,
    MalformedError,
    RefusedError,
    SilentError,
    UnfitError,
)
from pytest_llm.engines.servers.events import read_events
from pytest_llm.errors import LoadRefusedError, RequestFailedError, WorkerAnswerError, WorkerHungError
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.engines.llama_server.completion import Completion
    from pytest_llm.engines.servers.client import Client
    from pytest_llm.engines.servers.process import ServerProcess
    from pytest_llm.errors import EngineError
    from pytest_llm.records import JSON

_LOADING = 503
_LOAD = "loading the model"
# One slot holds what the next slice goes on with.
_BASE: dict[str, JSON] = {"temperature": 0.0, "seed": 1, "ignore_eos": True, "stream": True, "id_slot": 0}
# Nothing else can be drawn, and no further sampler takes time.
_FORCED: dict[str, JSON] = {**_BASE, "top_k": 1, "samplers": ["top_k"], "return_tokens": True}
_CERTAIN = 1000.0  # in the place of any logit


class Api:
    """Requests to one server."""

    def __init__(self, client: Client, process: ServerProcess) -> None:
        self._client = client
        self._process = process

    def is_ready(self) -> bool:
        """Return if the server has loaded its model.

        Raises:
            EngineMissingError: The program cannot be run.
            LoadRefusedError: The server ended by itself.
            EngineError: It died, or does not answer.
        """
        process = self._process
        if not process.alive:
            missing = process.not_started()
            if missing is not None:
                raise missing
            refused = process.ended_by_itself()
            died = process.died(_LOAD)
            raise LoadRefusedError(str(died), died.log) if refused else died
        try:
            self._client.get("/health")
        except RefusedError as error:
            if error.status != _LOADING:
                raise self._failed(_LOAD, error, 0) from None
            return False
        except ClosedError:
            return False  # it does not listen yet
        except AnswerError as error:
            raise self._failed(_LOAD, error, 0) from None
        return True

    def properties(self, model: str) -> Mapping[str, Any]:
        """Return what ``/props`` answers.

        Raises:
            RequestFailedError: Another server answers, with another model: it took the port before this one.
        """

        def ask() -> Mapping[str, Any]:
            found = self._client.get("/props")
            found = found if isinstance(found, dict) else {}
            loaded = found.get("model_path", model)
            if loaded != model:
                raise UnfitError(f"has {clean(loaded)} loaded and is another one: run again")
            return found

        found: Mapping[str, Any] = self._asked("asking for its properties", ask)
        return found

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool = True) -> list[int]:
        """Return the ids of a text.

        Raises:
            RequestFailedError: The model has no vocabulary.
        """
        body: dict[str, JSON] = {"content": text, "add_special": add_special, "parse_special": parse_special}

        def ask() -> list[int]:
            answer = self._client.post("/tokenize", body)
            ids = answer.get("tokens") if isinstance(answer, dict) else None
            if not isinstance(ids, list) or not all(type(each) is int for each in ids):
                raise MalformedError("sent no list of token ids")
            return ids

        found: list[int] = self._asked("tokenising", ask)
        return found

    def force(self, ids: Sequence[int], count: int, word: int) -> Completion:
        """Have so many tokens generated after ids, in the cache as far as they are there, each ``word``."""
        bias: JSON = [[word, _CERTAIN]]

        def ask() -> Completion:
            body = {**_FORCED, "cache_prompt": True, "logit_bias": bias}
            answer = self._complete(list(ids), count, body)
            if any(each != word for each in answer.ids):
                raise UnfitError(f"generated {answer.ids} where {word} was the only choice")
            return answer

        return self._completion("generating" if count > 1 else "decoding a prompt", ask)

    def request(self, prompt: JSON, tokens: int, cached: int, count: int, slot: int = 0) -> Completion:
        """Have tokens generated greedily after a prompt of so many tokens, of which some are cached."""

        def ask() -> Completion:
            answer = self._complete(prompt, count, {**_BASE, "id_slot": slot, "cache_prompt": cached > 0})
            if answer.prompt != tokens or answer.cached > cached:
                raise UnfitError(
                    f"read a prompt of {tokens} tokens as {answer.prompt}, {answer.cached} of them cached"
                )
            return answer

        return self._completion("going through a request", ask)

    def greedy(self, prompt: str, count: int) -> Completion:
        """Have so many tokens generated greedily, each with its lead."""
        body: dict[str, JSON] = {**_BASE, "cache_prompt": False, "n_probs": 2, "return_tokens": True}
        return self._completion("generating", lambda: self._complete(prompt, count, body))

    def _complete(self, prompt: JSON, count: int, body: Mapping[str, JSON]) -> Completion:
        sent = {**body, "prompt": prompt, "n_predict": count}
        return read_completion(read_events(self._client.stream("/completion", sent, count)), count)

    def _completion(self, doing: str, ask: Callable[[], Completion]) -> Completion:
        found: Completion = self._asked(doing, ask)
        return found

    def _asked(self, doing: str, ask: Callable[[], Any]) -> Any:
        since = self._process.written()
        try:
            return ask()
        except AnswerError as error:
            raise self._failed(doing, error, since) from None

    def _failed(self, doing: str, error: AnswerError, since: int) -> EngineError:
        if isinstance(error, ClosedError):
            return self._process.died(doing)
        told = f"{self._process.name}: the server {error}, {doing}"
        lines = self._process.last_lines(since)
        if isinstance(error, SilentError):
            return WorkerHungError(f"{told}: raise --llm-timeout if the machine is that slow", lines)
        if isinstance(error, (RefusedError, UnfitError)):
            return RequestFailedError(told, lines)
        return WorkerAnswerError(f"{told}: give the program itself, not one that wraps it", lines)
