"""Model file on the web."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pytest_llm.errors import ModelFetchError, UsageError
from pytest_llm.system.text import one_line

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from pathlib import Path
    from urllib.request import OpenerDirector

HUGGING_FACE_FILE = "https://huggingface.co/OWNER/REPOSITORY/resolve/main/FILE.gguf"

SILENCE_SECONDS = 60.0  # without a byte, until the connection counts as lost
_CHUNK = 2**20


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

    def fetch(self, destination: Path, /) -> None:
        from http.client import HTTPException

        try:
            response: HTTPResponse = _opener().open(self.url, timeout=SILENCE_SECONDS)
        except (OSError, HTTPException, ValueError) as error:
            raise self._failure(error) from None
        with response, destination.open("wb") as file:
            promised = response.headers.get("Content-Length")
            while True:
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, HTTPException) as error:
                    raise self._failure(error) from None
                if not chunk:
                    break
                file.write(chunk)
            # http.client treats an early close as the end of the file.
            if promised is not None and promised.isdecimal() and file.tell() < int(promised):
                reason = f"the connection closed after {file.tell()} of {promised} bytes"
                raise self._failure(reason)

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


def _shown(url: str) -> str:
    """Return the URL without its query, which can hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _opener() -> OpenerDirector:
    from urllib import request  # slow to import

    # The default opener would follow a redirection to ftp.

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPRedirectHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        request.UnknownHandler,
    ):
        opener.add_handler(handler())
    opener.addheaders = [("User-Agent", "pytest-llm-bench")]
    return opener
