"""HTTP interface of one llama-server; errors name the build, what the server was doing and its last lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.engines.llama_server.completion import read_completion, read_likely
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
    from pytest_llm.records.generation import Likely, Sampling

_LOADING = 503
_LOAD = "loading the model"
# One slot holds what the next slice goes on with.
_BASE: dict[str, JSON] = {"temperature": 0.0, "seed": 1, "ignore_eos": True, "stream": True, "id_slot": 0}
# Nothing else can be drawn, and no further sampler takes time.
_FORCED: dict[str, JSON] = {"top_k": 1, "samplers": ["top_k"]}
_CERTAIN = 1000.0  # in the place of any logit
# Any token can be drawn, as by llama.cpp's own samplers of these names.
_ALL_LIKELY: dict[str, JSON] = {
    "cache_prompt": False,
    "id_slot": 0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "return_tokens": True,
    "samplers": ["top_k", "top_p", "temperature"],
    "stream": True,
}
_LIKELY_BYTES = 256  # of one token in a list of probabilities


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

    def continued(self, ids: Sequence[int], count: int, word: int | None, cached: int | None) -> Completion:
        """Have so many tokens generated after ids, in the cache as far as they are there.

        Args:
            ids: All ids of the slot.
            count: How many tokens to generate.
            word: The one that each must be; None for those that the model holds likeliest.
            cached: How many of the ids must be in the cache; None for any number.
        """

        def ask() -> Completion:
            body = {**_BASE, "return_tokens": True, "cache_prompt": True}
            if word is not None:
                body |= {**_FORCED, "logit_bias": [[word, _CERTAIN]]}
            answer = self._complete(list(ids), count, body)
            if cached is not None:
                answer.check_cached(len(ids), cached)
            if word is not None:
                _check_forced(answer, word)
            elif len(answer.ids) != count:
                raise UnfitError(f"named {len(answer.ids)} of {count} tokens")
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

    def greedy(self, prompt: JSON, count: int) -> Completion:
        """Have so many tokens generated greedily, each with its lead, whatever ends the text."""
        body: dict[str, JSON] = {**_BASE, "cache_prompt": False, "n_probs": 2, "return_tokens": True}
        return self._completion("generating", lambda: self._complete(prompt, count, body))

    def generate(self, prompt: JSON, count: int, sampling: Sampling, probabilities: int = 0) -> Completion:
        """Have tokens generated until the model ends the text, at most so many."""
        body: dict[str, JSON] = {
            **_ALL_LIKELY,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "n_probs": probabilities,
        }
        return self._completion("generating", lambda: self._complete(prompt, count, body, may_end=True))

    def likely(self, ids: Sequence[int], count: int) -> list[Likely]:
        """Return so many of the likeliest tokens after ids, likeliest first."""
        body: dict[str, JSON] = {
            **_BASE,
            "stream": False,
            "ignore_eos": False,
            "cache_prompt": True,
            "prompt": list(ids),
            "n_predict": 1,
            "n_probs": count,
        }

        def ask() -> list[Likely]:
            answer = self._client.post("/completion", body, more=_LIKELY_BYTES * count)
            told = answer.get("completion_probabilities") if isinstance(answer, dict) else None
            if not isinstance(told, list) or len(told) != 1:
                raise MalformedError("sent no probabilities")
            found = read_likely(told[0])
            if len(found) != count:
                raise UnfitError(f"sent {len(found)} probabilities where {count} were asked for")
            return found

        found: list[Likely] = self._asked("telling probabilities", ask)
        return found

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""

        def ask() -> str:
            answer = self._client.post("/detokenize", {"tokens": list(ids)})
            return _text(answer, "content")

        found: str = self._asked("detokenising", ask)
        return found

    def render_chat(self, content: str) -> str:
        """Return the chat template around a user's message."""
        messages: JSON = [{"role": "user", "content": content}]

        def ask() -> str:
            return _text(self._client.post("/apply-template", {"messages": messages}), "prompt")

        found: str = self._asked("rendering a chat", ask)
        return found

    def _complete(
        self, prompt: JSON, count: int, body: Mapping[str, JSON], *, may_end: bool = False
    ) -> Completion:
        sent = {**body, "prompt": prompt, "n_predict": count}
        events = read_events(self._client.stream("/completion", sent, count))
        return read_completion(events, count, may_end=may_end)

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


def _text(answer: object, name: str) -> str:
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, str):
        raise MalformedError(f"sent no {name}")
    return found


def _check_forced(answer: Completion, word: int) -> None:
    if any(each != word for each in answer.ids):
        raise UnfitError(f"generated {answer.ids} where {word} was the only choice")
    if answer.drafted:
        raise UnfitError(
            "drafts tokens in some texts and not in others, so its speed is that of no text: turn "
            "speculative decoding off, or give draft_model"
        )
