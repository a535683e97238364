"""Model file on the web."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pytest_llm.errors import ModelFetchError, UsageError
from pytest_llm.models.sources.limits import Limit, Transfer
from pytest_llm.system.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from http.client import HTTPConnection, HTTPResponse
    from pathlib import Path
    from urllib.request import OpenerDirector

HUGGING_FACE_FILE = "https://huggingface.co/OWNER/REPOSITORY/resolve/main/FILE.gguf"

SILENCE_SECONDS = 60.0  # without a byte, until the connection counts as lost
ANSWER_SECONDS = 120.0  # until the content begins, over all redirections
_CHUNK = 2**20
_PARTIAL, _NO_SUCH_PART = 206, 416
_PART = re.compile(r"bytes (\d+)-")


@dataclass(frozen=True)
class WebFile:
    """One file, by its http or https URL."""

    url: str
    filename: str
    needs_pin = True

    @classmethod
    def parse(cls, text: str, _root: Path) -> WebFile:
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"the source {text!r} is not a URL: {error}") from None
        if not host or not text.isprintable() or " " in text:
            raise UsageError(f"the source {text!r} is not a URL of the form https://HOST/PATH/FILE")
        if parts.username is not None:
            raise UsageError(f"the source on {host} holds a user's name: write the URL without it")
        if host.endswith("huggingface.co") and "/resolve/" not in parts.path:
            raise UsageError(f"the source {_shown(text)} is a page, not a file: write {HUGGING_FACE_FILE}")
        filename = unquote(parts.path.rpartition("/")[2])
        # Names that start with a dot are reserved for the cache.
        if not filename.isprintable() or filename[:1] in ("", ".") or "/" in filename:
            raise UsageError(f"the source {_shown(text)} does not end in the name of a file")
        return cls(text, filename)

    def beside(self, filename: str, /) -> WebFile:
        parts = urlsplit(self.url)
        path = f"{parts.path.rpartition('/')[0]}/{quote(filename)}"
        return WebFile(urlunsplit(parts._replace(path=path)), filename)

    def in_place(self) -> None:
        """Return None: it must always be fetched."""

    def fetch(self, destination: Path, limit: Limit = Limit(), /) -> None:  # noqa: B008 - immutable
        """Write the file; what an interrupted call has fetched is gone on with, if the server can."""
        while True:
            before = _size(destination)
            try:
                self._fetch(destination, limit)
            except _CutError as error:
                # As long as more of it comes, and the server says that it is the same file.
                if _size(destination) > before and _tag(destination):
                    limit.show(f"{self}: {error}; going on")
                    continue
                raise self._failure(str(error)) from None
            except _AnewError:  # asked for no range, it cannot come again
                destination.unlink(missing_ok=True)
                continue
            _tag_of(destination).unlink(missing_ok=True)
            return

    def _fetch(self, destination: Path, limit: Limit) -> None:
        had, tag = _size(destination), _tag(destination)
        with self._answer({"Range": f"bytes={had}-", "If-Range": tag} if had and tag else {}) as response:
            had = _goes_on(response, had)
            if not had:
                _keep_tag(destination, response.headers.get("ETag") or "")
            length = response.headers.get("Content-Length") or ""
            promised = had + int(length) if length.isdecimal() else None
            with destination.open("ab" if had else "wb") as file:
                try:
                    transfer = Transfer(limit, destination.parent, promised, had=had)
                    while chunk := self._read(response):
                        transfer.received(chunk)
                        file.write(chunk)
                except ModelFetchError as error:
                    raise self._failure(error) from None
                # http.client treats an early close as the end of the file.
                if promised is not None and file.tell() < promised:
                    raise _CutError(f"the connection closed after {file.tell()} of {promised} bytes")

    def _answer(self, headers: Mapping[str, str]) -> HTTPResponse:
        from http.client import HTTPException
        from urllib.request import Request  # slow to import

        late = f"no content came in {ANSWER_SECONDS:g} s"
        connections: list[HTTPConnection] = []
        with _time_limit(connections) as is_over:
            try:
                request = Request(self.url, headers=dict(headers))
                response: HTTPResponse = _opener(connections).open(request, timeout=SILENCE_SECONDS)
            except (OSError, HTTPException, ValueError) as error:
                if getattr(error, "code", None) == _NO_SUCH_PART and headers:
                    raise _AnewError from None
                raise self._failure(late if is_over() else error) from None
        if is_over():  # http.client treats an early close as the end of the headers, too
            response.close()
            raise self._failure(late)
        return response

    def _read(self, response: HTTPResponse) -> bytes:
        """Return what has come, and wait for it only if nothing has."""
        from http.client import HTTPException

        try:
            return response.read1(_CHUNK)
        except (OSError, HTTPException) as error:
            raise _CutError(one_line(error) or type(error).__name__) from None

    def _failure(self, error: Exception | str) -> ModelFetchError:
        from urllib.error import HTTPError, URLError

        reason: object = error
        if isinstance(error, HTTPError):
            reason = f"HTTP {error.code} {error.reason}"
            error.close()
        elif isinstance(error, URLError):
            reason = error.reason
        words = one_line(reason) or type(reason).__name__
        return ModelFetchError(f"{self} cannot be fetched: {words}")

    def __str__(self) -> str:
        return _shown(self.url)


class _AnewError(Exception):
    """The server has no such part: the file became shorter, or all of it is here already."""


class _CutError(Exception):
    """The connection ended before the file did."""


def _goes_on(response: HTTPResponse, had: int) -> int:
    """Return from which byte on the answer is; 0 if it is the whole file."""
    told = _PART.match(response.headers.get("Content-Range") or "") if response.status == _PARTIAL else None
    return had if told is not None and int(told[1]) == had else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _tag_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.etag")


def _tag(path: Path) -> str:
    """Return the ETag of a file of which a part is here; "" if the rest cannot be asked for."""
    try:
        return _tag_of(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _keep_tag(path: Path, tag: str) -> None:
    _tag_of(path).unlink(missing_ok=True)
    if tag.startswith('"'):  # a weak one does not promise the same bytes
        _tag_of(path).write_text(tag, encoding="utf-8")


def _shown(url: str) -> str:
    """Return the URL without its query, which can hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


@contextmanager
def _time_limit(connections: Sequence[HTTPConnection]) -> Iterator[Callable[[], bool]]:
    """Shut the connections down after ``ANSWER_SECONDS``; yield what returns if that happened.

    The time limit of a socket is for one byte.
    """
    over = threading.Event()

    def shut_down() -> None:
        over.set()
        for each in connections:
            with suppress(OSError):
                socket.socket.shutdown(each.sock, socket.SHUT_RDWR)

    timer = threading.Timer(ANSWER_SECONDS, shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield over.is_set
    finally:
        timer.cancel()


def _opener(connections: list[HTTPConnection]) -> OpenerDirector:
    """Return what opens URLs, and adds its connections to the list."""
    from urllib import request  # slow to import

    class Noted(request.AbstractHTTPHandler):
        def do_open(self, http_class: Any, req: Any, **arguments: Any) -> Any:
            def connect(host: str, **options: Any) -> HTTPConnection:
                connections.append(http_class(host, **options))
                return connections[-1]

            return super().do_open(connect, req, **arguments)

    class HTTPHandler(Noted, request.HTTPHandler): ...

    class HTTPSHandler(Noted, request.HTTPSHandler): ...

    # The default opener would follow a redirection to ftp.

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        HTTPHandler,
        HTTPSHandler,
        request.HTTPRedirectHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        request.UnknownHandler,
    ):
        opener.add_handler(handler())
    opener.addheaders = [("User-Agent", "pytest-llm-bench")]
    return opener
