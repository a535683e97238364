"""Client of a server: JSON over HTTP, and streams whose pieces are stamped as they arrive.

The client reads a stream without looking into it: what a piece says is found out when the stream has ended,
so that no work of ours lies between two tokens.
"""

from __future__ import annotations

import json
import time
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.errors import DataError
from pytest_llm.system import strict_json
from pytest_llm.system.http import http_library
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_llm.records import JSON

_JSON = {"Content-Type": "application/json"}
_CONNECT_SECONDS = 5.0
_ANSWER_BYTES = 2**24
_BYTES_PER_TOKEN = 2**13  # a chat's chunk with timings has 600
_LONGEST_REFUSAL = 500  # characters


class Piece(NamedTuple):
    """Bytes of a stream, and the seconds after the request was sent at which they came."""

    at: float
    data: bytes


class AnswerError(Exception):
    """A server did not answer as it should; the message is a predicate of the server."""


class RefusedError(AnswerError):
    """The server answered with an error of its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"answered {status}: {message}" if message else f"answered {status}")
        self.status = status
        self.message = message


class ClosedError(AnswerError):
    """The server cannot be reached, or closed the connection."""


class SilentError(AnswerError):
    """The server sent nothing, or no token, in time."""


class MalformedError(AnswerError):
    """The answer cannot be read."""


class UnfitError(AnswerError):
    """The answer can be read, and is not the one that was asked for."""


class Client:
    """Connections to one server, a fresh one for each request: servers drop those that were kept."""

    def __init__(
        self, url: str, timeout: float, socket: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Take the server's address; nothing is sent yet.

        Args:
            url: "http://127.0.0.1:8080".
            timeout: Seconds to wait for each answer, and in a stream for each token.
            socket: The path of a Unix socket that takes the place of the host.
            headers: Of each request.

        Raises:
            EngineMissingError: The HTTP library is not installed.
        """
        http = self._http = http_library()
        self.url = url
        self._timeout = timeout
        # The environment names proxies, which no server of this machine is behind.
        transport = http.HTTPTransport(
            uds=socket, trust_env=False, limits=http.Limits(max_keepalive_connections=0)
        )
        self._client = http.Client(
            base_url=url,
            transport=transport,
            headers=headers,
            timeout=http.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            trust_env=False,
            follow_redirects=False,
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> Any:
        """Return the JSON at a path; raises as :meth:`post`."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, JSON], more: int = 0) -> Any:
        """Return the JSON that answers a body; it may have so many bytes more than answers have.

        Raises:
            AnswerError: The server refused, closed the connection, was silent, or sent no JSON.
        """
        return self._ask("POST", path, body, _ANSWER_BYTES + more)

    def status(self, method: str, path: str) -> int:
        """Return the status that answers a request without a body; ``AnswerError`` if nothing does."""
        with self._errors(), self._client.stream(method, path) as response:
            status: int = response.status_code
            return status

    def delete(self, path: str, body: Mapping[str, JSON]) -> None:
        """Have something deleted; raises as :meth:`post`, and the answer may be empty."""
        with self._errors(), self._client.stream("DELETE", path, json=body) as response:
            if response.status_code != 200:
                raise self._refusal(response)

    def upload(self, path: str, file: Path) -> None:
        """Send a file as it is; raises ``AnswerError`` unless it is taken."""
        with (
            file.open("rb") as opened,
            self._errors(),
            self._client.stream(
                "POST",
                path,
                content=opened,
                headers={"Content-Length": str(file.stat().st_size)},
            ) as response,
        ):
            if response.status_code not in (200, 201):
                raise self._refusal(response)

    def stream(self, path: str, body: Mapping[str, JSON], tokens: int) -> list[Piece]:
        """Return the pieces of a stream of about so many tokens, to its end.

        Comments, with which servers keep a connection warm, do not count as answers.

        Raises:
            AnswerError: See :meth:`post`; or the stream is far longer than it should be.
        """
        pieces: list[Piece] = []
        limit = _ANSWER_BYTES + _BYTES_PER_TOKEN * tokens
        size = 0
        clock = time.perf_counter
        content = json.dumps(body).encode()
        with self._errors():
            started = last = clock()
            with self._client.stream("POST", path, content=content, headers=_JSON) as response:
                if response.status_code != 200:
                    raise self._refusal(response)
                for data in response.iter_raw():
                    now = clock()
                    pieces.append(Piece(now - started, data))
                    size += len(data)
                    if size > limit:
                        raise UnfitError(f"sent more than {limit} bytes for {tokens} tokens")
                    if not data.startswith(b":") or b"\ndata:" in data:
                        last = now
                    elif now - last > self._timeout:
                        raise SilentError(f"sent no token for {self._timeout:g} s")
        return pieces

    def _ask(
        self, method: str, path: str, body: Mapping[str, JSON] | None, limit: int = _ANSWER_BYTES
    ) -> Any:
        with self._errors(), self._client.stream(method, path, json=body) as response:
            if response.status_code != 200:
                raise self._refusal(response)
            data = _bounded(response, limit)
        try:
            return strict_json.loads(data, limit=limit, what="it")
        except DataError as error:
            raise MalformedError(f"sent {path} which {error.reason}") from None

    def _refusal(self, response: Any) -> AnswerError:
        status = response.status_code
        if 300 <= status < 400:
            return RefusedError(status, f"it redirects to {clean(response.headers.get('location', ''))}")
        data = _bounded(response)
        try:
            message = error_text(strict_json.loads(data, limit=_ANSWER_BYTES, what="it"))
        except DataError:
            message = data.decode(errors="replace")
        return RefusedError(status, clean(" ".join(message.split()), _LONGEST_REFUSAL))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        http = self._http
        try:
            yield
        except http.TimeoutException:
            raise SilentError(f"gave no answer for {self._timeout:g} s") from None
        except http.ConnectError as error:
            told = clean(error)
            _close_sockets(error)
            raise ClosedError(f"cannot be reached ({told})") from None
        except (http.NetworkError, http.RemoteProtocolError) as error:
            raise ClosedError(f"closed the connection ({clean(error)})") from None
        except http.TransportError as error:
            raise MalformedError(f"sent what cannot be read ({clean(error)})") from None


def error_text(answer: object) -> str:
    """Return the message of an error that servers write in one of several forms."""
    if isinstance(answer, dict):
        error = answer.get("error", answer.get("detail", answer))
        if isinstance(error, dict):
            return str(error.get("message", error))
        return str(error)
    return str(answer)


def _close_sockets(error: BaseException | None) -> None:
    """Close what a failed connection leaves open in the frames of the library, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__cause__ or error.__context__


def _bounded(response: Any, limit: int = _ANSWER_BYTES) -> bytes:
    data = bytearray()
    for each in response.iter_raw():
        data += each
        if len(data) > limit:
            raise MalformedError(f"sent more than {limit} bytes")
    return bytes(data)
