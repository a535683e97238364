"""HTTP interface of a server by URL; errors name the build, what the server was doing, and the fix."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from pytest_llm.engines import API_KEY
from pytest_llm.engines.servers.client import (
    AnswerError,
    Client,
    ClosedError,
    RefusedError,
    SilentError,
    UnfitError,
)
from pytest_llm.engines.servers.completion import DiscardedError
from pytest_llm.errors import LoadRefusedError, RequestFailedError, WorkerDiedError, WorkerHungError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.engines.servers.completion import Completion
    from pytest_llm.errors import EngineError
    from pytest_llm.records import JSON, Build, LoadOptions, Model

_UNAUTHORIZED = (401, 403)
_NOT_FOUND = 404


class Endpoint(ABC):
    """One server that generates texts after texts; each method may raise ``EngineError``.

    Attributes:
        start_fix: What to do if nothing listens.
        path_fix: What to do if the answers are of another kind.
        not_found: What to do if the server lacks what it is asked for.
        after: What is done when all connections have ended.
    """

    start_fix = "start it, or correct the URL"
    path_fix = "name the URL of the server"
    not_found = "name the URL of the server"

    def __init__(self, url: str, name: str, timeout: float) -> None:
        """Take the URL, the build for messages, and the seconds to wait for each token."""
        key = os.environ.get(API_KEY, "")
        headers = {"Authorization": f"Bearer {key}"} if key else None
        self.url = url
        self.after: Callable[[], None] | None = None
        self.name = name
        self._key = key
        self.client = Client(self._base(url), timeout, headers=headers)

    @abstractmethod
    def describe(self) -> Build:
        """Return what is known of the server."""

    @abstractmethod
    def load(self, model: Model, options: LoadOptions) -> None:
        """Have a model ready, with load options as far as the server takes them from outside.

        Raises:
            LoadRefusedError: It has no such model, or refuses; or it is another server.
        """

    @abstractmethod
    def effective_options(self) -> Mapping[str, JSON]:
        """Return the load options that the server confirms, after ``load``."""

    @abstractmethod
    def count(self, text: str) -> int:
        """Return how many tokens a prompt has."""

    @abstractmethod
    def greedy(self, text: str, count: int) -> str:
        """Return the greedy text of so many tokens after a text."""

    @abstractmethod
    def stream(self, text: str, tokens: int, count: int) -> Completion:
        """Return the streamed answer of so many tokens to a prompt of so many.

        Raises:
            DiscardedError: The request does not count, and may be sent again.
        """

    @abstractmethod
    def inventory(self) -> Sequence[str]:
        """Return the names of what the server has, and of what is loaded."""

    def release(self) -> None:  # noqa: B027 - most change nothing
        """Leave the server as it was; may be called again."""

    def close(self) -> None:
        """Release it, and end all connections."""
        self.release()
        self.client.close()
        if self.after is not None:
            self.after()
            self.after = None

    def _base(self, url: str) -> str:
        return url

    def asked(self, doing: str, ask: Callable[[], Any]) -> Any:
        """Return what a function returns; its ``AnswerError`` becomes an ``EngineError`` unless discarded."""
        try:
            return ask()
        except AnswerError as error:
            raise self._failed(doing, error) from None

    def asked_to_load(self, doing: str, ask: Callable[[], Any]) -> Any:
        """Do the same; what fails is a subject that is not loaded."""
        try:
            return self.asked(doing, ask)
        except (RequestFailedError, WorkerHungError, WorkerDiedError) as error:
            raise LoadRefusedError(str(error)) from None

    def _failed(self, doing: str, error: AnswerError) -> EngineError | AnswerError:
        if isinstance(error, DiscardedError):
            return error
        told = f"{self.name}: the server {self._without_key(str(error))}, {doing}"
        if isinstance(error, ClosedError):
            return WorkerDiedError(f"{told}: {self.start_fix}")
        if isinstance(error, SilentError):
            return WorkerHungError(f"{told}: raise --llm-timeout if it is that slow")
        if isinstance(error, RefusedError):
            return RequestFailedError(f"{told}: {self._fix(error)}")
        if isinstance(error, UnfitError):
            return RequestFailedError(told)
        return RequestFailedError(f"{told}: {self.path_fix}")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text

    def _fix(self, error: RefusedError) -> str:
        if error.status in _UNAUTHORIZED:
            return f"set {API_KEY} to its key"
        if error.status == _NOT_FOUND:
            return self.not_found
        if 300 <= error.status < 400:
            return "name the URL that it redirects to"
        return "its message says what to change"
