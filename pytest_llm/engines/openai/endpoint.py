"""HTTP interface of one server by URL; errors name the build and what the server was doing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_llm.engines import API_KEY
from pytest_llm.engines.openai.completion import (
    StoppedEarlyError,
    Usage,
    choices,
    read_completion,
    read_usage,
    text_of,
)
from pytest_llm.engines.servers.client import (
    AnswerError,
    Client,
    ClosedError,
    MalformedError,
    RefusedError,
    SilentError,
    UnfitError,
)
from pytest_llm.engines.servers.events import read_events
from pytest_llm.errors import LoadRefusedError, RequestFailedError, WorkerDiedError, WorkerHungError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_llm.engines.openai.completion import Completion
    from pytest_llm.errors import EngineError
    from pytest_llm.records import JSON

_VERSION = "/v1"
_UNAUTHORIZED = (401, 403)
_NOT_FOUND = 404
_COMPLETIONS = "/completions"


class Endpoint:
    """Requests to one server."""

    def __init__(self, url: str, name: str, timeout: float) -> None:
        """Take the URL, the build for messages, and the seconds to wait for each token."""
        base = url if urlsplit(url).path.endswith(_VERSION) else f"{url}{_VERSION}"
        key = os.environ.get(API_KEY, "")
        headers = {"Authorization": f"Bearer {key}"} if key else None
        self._key = key
        self._name = name
        self._client = Client(base, timeout, headers=headers)

    def close(self) -> None:
        self._client.close()

    def models(self) -> list[str]:
        """Return the ids of its models.

        Raises:
            LoadRefusedError: It is no such server, or has no model.
            EngineError: It cannot be reached.
        """

        def ask() -> list[str]:
            answer = self._client.get("/models")
            listed = answer.get("data") if isinstance(answer, dict) else None
            ids = (
                [each.get("id") for each in listed if isinstance(each, dict)]
                if isinstance(listed, list)
                else []
            )
            found = [each for each in ids if isinstance(each, str)]
            if not found:
                raise MalformedError("lists no model")
            return found

        try:
            found: list[str] = self._asked("listing its models", ask)
        except (RequestFailedError, WorkerHungError, WorkerDiedError) as error:
            raise LoadRefusedError(str(error)) from None
        return found

    def count(self, body: Mapping[str, JSON]) -> tuple[str, Usage]:
        """Return the text and the usage that answer a request which is not streamed."""

        def ask() -> tuple[str, Usage]:
            answer = self._client.post(_COMPLETIONS, body)
            answer = answer if isinstance(answer, dict) else {}
            usage = read_usage(answer)
            if usage.prompt is None:
                raise MalformedError("tells no usage, so that tokens cannot be counted")
            return "".join(map(text_of, choices(answer))), usage

        found: tuple[str, Usage] = self._asked("counting tokens", ask)
        return found

    def stream(self, body: Mapping[str, JSON], tokens: int, count: int) -> Completion:
        """Return the streamed answer of so many tokens to a prompt of so many.

        Raises:
            StoppedEarlyError: The answer is shorter.
            EngineError: It is none.
        """
        asked: dict[str, JSON] = {
            **body,
            "max_tokens": count,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

        def ask() -> Completion:
            return read_completion(
                read_events(self._client.stream(_COMPLETIONS, asked, tokens + count)), count
            )

        found: Completion = self._asked("going through a request", ask)
        return found

    def _asked(self, doing: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except AnswerError as error:
            raise self._failed(doing, error) from None

    def _failed(self, doing: str, error: AnswerError) -> EngineError | AnswerError:
        if isinstance(error, StoppedEarlyError):
            return error
        told = f"{self._name}: the server {self._without_key(str(error))}, {doing}"
        if isinstance(error, ClosedError):
            return WorkerDiedError(f"{told}: start it, or correct the URL")
        if isinstance(error, SilentError):
            return WorkerHungError(f"{told}: raise --llm-timeout if it is that slow")
        if isinstance(error, RefusedError):
            return RequestFailedError(f"{told}: {self._fix(error.status)}")
        if isinstance(error, UnfitError):
            return RequestFailedError(told)
        return RequestFailedError(f"{told}: name the URL up to /v1")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text

    @staticmethod
    def _fix(status: int) -> str:
        if status in _UNAUTHORIZED:
            return f"set {API_KEY} to its key"
        if status == _NOT_FOUND:
            return "name the URL up to /v1 of a server that has /v1/completions"
        if 300 <= status < 400:
            return "name the URL that it redirects to"
        return "its message says what to change"
