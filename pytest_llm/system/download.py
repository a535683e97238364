"""Downloads: bounded, resumed where they were interrupted, whole or not there, with progress.

What was fetched of a file stays beside it until the file is whole. It is gone on with only if the server says
by its strong ETag that the rest belongs to it; otherwise the download begins anew.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import shutil
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from pytest_llm.errors import LLMBenchError
from pytest_llm.system import atomic_file
from pytest_llm.system.http import http_library
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.5  # before the second attempt, then twice as long each time
_REDIRECTS = 5
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 60.0
_PROGRESS_SECONDS = 5.0
_CHUNK = 2**18
_MIB = 2**20
_TOTAL = re.compile(r"bytes (\d+)-\d+/(\d+)")
_BUSY = {408, 425, 429, 500, 502, 503, 504}


class DownloadError(LLMBenchError):
    """A file was not fetched; the message says why, and names the URL."""


class _InterruptedError(Exception):
    """It may go on if it is tried again; the message is the reason."""


class Fetched(NamedTuple):
    """A whole file: its SHA-256 in hexadecimal, and its size in bytes."""

    sha256: str
    size: int


def download(
    url: str,
    target: Path,
    limit: int,
    on_progress: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Fetch a file; what an earlier call fetched of it is gone on with.

    Args:
        url: http or https. Redirects are followed, from https to https alone.
        target: The file, which appears when it is whole.
        limit: Bytes that it may have.
        on_progress: Receives a line now and then.
        sleep: Waits between attempts.

    Raises:
        DownloadError: The server refused, or cannot be reached, the file is larger, or there is no room.
        EngineMissingError: The HTTP library is not installed.
    """
    part = _Part(target.with_name(f"{target.name}.part"))
    http = http_library("archives are fetched")
    for attempt in range(_ATTEMPTS):
        try:
            _fetch(http, url, part, limit, on_progress)
            break
        except _InterruptedError as error:
            if attempt + 1 == _ATTEMPTS:
                raise DownloadError(f"{url} cannot be fetched: {error}, {_ATTEMPTS} times") from None
            on_progress(f"{url}: {error}; trying again")
            sleep(_PAUSE_SECONDS * 2**attempt)
        except OSError as error:
            raise DownloadError(
                f"{url} cannot be stored in {target.parent}: {error.strerror or error}"
            ) from None
    found = part.digest()
    part.become(target)
    return found


class _Part:
    """The fetched part of a file, and the ETag of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tag = path.with_name(f"{path.name}.etag")

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def tag(self) -> str:
        """The ETag; "" if the rest cannot be asked for."""
        try:
            return self._tag.read_text(encoding="utf-8") if self.size else ""
        except (OSError, UnicodeDecodeError):
            return ""

    def begin(self, tag: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)
        if tag.startswith('"'):  # a weak one does not promise the same bytes
            atomic_file.replace_own(self._tag, tag.encode())

    def digest(self) -> Fetched:
        hashed, size = hashlib.sha256(), 0
        with self.path.open("rb") as file:
            while data := file.read(_CHUNK):
                hashed.update(data)
                size += len(data)
        return Fetched(hashed.hexdigest(), size)

    def become(self, target: Path) -> None:
        self.path.replace(target)
        self._tag.unlink(missing_ok=True)


def _fetch(http: Any, url: str, part: _Part, limit: int, on_progress: Callable[[str], None]) -> None:
    timeout = http.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
    at, tag = part.size, part.tag
    headers = {"Accept-Encoding": "identity"}
    if at and tag:
        headers |= {"Range": f"bytes={at}-", "If-Range": tag}
    try:
        with (
            http.Client(timeout=timeout, follow_redirects=False, trust_env=not _is_loopback(url)) as client,
            _followed(client, url, headers) as response,
        ):
            _keep(response, url, part, limit, on_progress)
    except http.TimeoutException:
        raise _InterruptedError("the server was silent") from None
    except http.RemoteProtocolError:
        raise _InterruptedError(f"the connection ended after {part.size} bytes") from None
    except http.TransportError as error:
        raise _InterruptedError(clean(error) or type(error).__name__) from None


@contextmanager
def _followed(client: Any, url: str, headers: dict[str, str]) -> Iterator[Any]:
    """Open a URL where its redirects lead."""
    at = url
    with ExitStack() as opened:
        for _ in range(_REDIRECTS + 1):
            response = opened.enter_context(client.stream("GET", at, headers=headers))
            where = response.headers.get("location")
            if not (300 <= response.status_code < 400 and where):
                yield response
                return
            at = _redirected(at, where)
    raise DownloadError(f"{url} redirects more than {_REDIRECTS} times")


def _redirected(url: str, where: str) -> str:
    found = urljoin(url, where)
    if urlsplit(found).scheme == "https" or (_is_loopback(url) and _is_loopback(found)):
        return found
    raise DownloadError(f"{url} redirects to {clean(found)}, which is not encrypted: name another URL")


def _keep(response: Any, url: str, part: _Part, limit: int, on_progress: Callable[[str], None]) -> None:
    status, begun = response.status_code, 0
    if status == 206:
        told = _TOTAL.fullmatch(response.headers.get("content-range", ""))
        begun = part.size
        if told is None or int(told[1]) != begun:
            part.begin("")
            raise _InterruptedError("it sent another part of the file than was asked for")
    elif status == 416:  # the file became shorter
        part.begin("")
        raise _InterruptedError("the file has changed")
    elif status in _BUSY:
        raise _InterruptedError(f"it answered {status}")
    elif status != 200:
        raise DownloadError(f"{url} cannot be fetched: the server answered {status}; correct the address")
    else:
        part.begin(response.headers.get("etag", ""))
    whole = _whole(response, begun)
    _check_room(url, part.path.parent, whole, begun, limit)
    with part.path.open("ab") as file:
        for size in _written(response, file, begun, url, whole, on_progress):
            if size > limit:
                raise DownloadError(f"{url} has more than {limit // _MIB} MiB: this cannot be an archive")
    if whole is not None and part.size != whole:
        raise _InterruptedError(f"the connection ended after {part.size} of {whole} bytes")


def _written(
    response: Any, file: Any, begun: int, url: str, whole: int | None, on_progress: Callable[[str], None]
) -> Iterator[int]:
    size, told = begun, time.monotonic()
    name = urlsplit(url).path.rpartition("/")[2]
    for data in response.iter_raw():  # as it comes: what is waited for is lost when the connection breaks
        file.write(data)
        size += len(data)
        yield size
        if time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            of = f" of {whole / _MIB:.0f}" if whole else ""
            on_progress(f"fetching {name}: {size / _MIB:.0f}{of} MiB")


def _whole(response: Any, begun: int) -> int | None:
    told = response.headers.get("content-length", "")
    return begun + int(told) if told.isdigit() else None


def _check_room(url: str, folder: Path, whole: int | None, begun: int, limit: int) -> None:
    if whole is None:
        return
    if whole > limit:
        raise DownloadError(
            f"{url} has {whole / _MIB:.0f} MiB, more than {limit // _MIB}: this cannot be an archive"
        )
    free = shutil.disk_usage(folder).free
    if whole - begun > free:
        raise DownloadError(
            f"{url} has {whole / _MIB:.0f} MiB, and {folder} has room for {free / _MIB:.0f}: free some space"
        )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
