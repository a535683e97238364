"""Engine of servers that run already and are asked for whole requests."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, NoReturn

from pytest_llm.engines import ENGINES
from pytest_llm.engines.servers.requests import RequestsSubject
from pytest_llm.errors import NotCoveredError
from pytest_llm.records import Address

if TYPE_CHECKING:
    from pytest_llm.engines.servers.endpoint import Endpoint
    from pytest_llm.records import Build, BuildReference, Model, Subject


class ServerEngine:
    """An engine whose subjects are servers that this process has not started.

    Attributes:
        endpoint: The interface of the servers.
    """

    endpoint: ClassVar[type[Endpoint]]

    def __init__(self, reference: BuildReference, timeout: float, made: str = "") -> None:  # noqa: ARG002
        """Take the build, and the seconds to wait for each token."""
        self._reference = reference
        self._timeout = timeout

    def describe(self) -> Build:
        """Return what is known of the server.

        Raises:
            EngineError: It cannot be reached, or is another one.
        """
        with closing(self.connect()) as endpoint:
            return endpoint.describe()

    def start(self, subject: Subject, model: Model) -> RequestsSubject:
        """Return a subject to be measured.

        Raises:
            EngineMissingError: The HTTP library is not installed.
            EngineError: The server cannot be reached, or is another one.
        """
        return RequestsSubject(self.connect(), str(self._reference), subject, model)

    def start_generation(self, subject: Subject, model: Model) -> NoReturn:  # noqa: ARG002
        raise NotCoveredError(
            f"{self._reference}: a server by URL shows no logits, so its output is not compared"
        )

    def connect(self) -> Endpoint:
        """Return the interface of the server; nothing is asked yet."""
        return type(self).endpoint(self._url(), str(self._reference), self._timeout)

    def close(self) -> None:
        """Leave the server as it was, once all subjects are closed; the engine can be used again."""

    def _url(self) -> str:
        if isinstance(self._reference, Address):
            return self._reference.url
        return self.default_url()

    def default_url(self) -> str:
        """Return where the server listens unless it is told otherwise."""
        return f"http://127.0.0.1:{ENGINES[self._reference.engine].port}"
