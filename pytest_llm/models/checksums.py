"""SHA-256 of models and their files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING

from pytest_llm.errors import DataError, ModelError
from pytest_llm.models.progress import Meter, silent
from pytest_llm.records.subject import OpenedFile
from pytest_llm.system import strict_json
from pytest_llm.system.atomic_file import replace_own

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_llm.models.progress import Show

_CHUNK = 2**20
_MAX_RECORD_BYTES = 2**16  # a record is far smaller
_TRIES = 3  # another link to the file, say, changes its status once


class Hashes:
    """Hashes of files, with one small JSON record per file in the cache.

    Records count only in a trusted cache, as long as the file's identity stays the same: any program that can
    write the cache can forge them. Records that cannot be read or written are ignored.
    """

    def __init__(self, folder: Path, *, trusted: bool) -> None:
        self._folder = folder
        self._trusted = trusted

    def hashed(self, path: Path, descriptor: int, show: Show = silent) -> OpenedFile:
        """Return an open file with its SHA-256; raise ModelError if it is unreadable or changes."""
        try:
            real = path.resolve()  # links to one file share its record
            for _ in range(_TRIES):
                before = identity(descriptor)
                known = self._recall(real, before) if self._trusted else None
                digest = known or hash_descriptor(descriptor, path.name, show)
                if identity(descriptor) == before:
                    self._write(real, before, digest)
                    return OpenedFile(str(path), descriptor, before, digest)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from None
        raise ModelError(f"{path} changes while it is read: wait until it is written")

    def _record(self, real: Path) -> Path:
        return self._folder / f"{hashlib.sha256(bytes(real)).hexdigest()[:32]}.json"

    def _recall(self, real: Path, found: tuple[int, ...]) -> str | None:
        try:
            record = strict_json.read(self._record(real), limit=_MAX_RECORD_BYTES)
        except DataError:
            return None
        if not isinstance(record, dict):
            return None
        digest = record.get("sha256")
        same = record.get("path") == str(real) and record.get("identity") == list(found)
        return digest if same and isinstance(digest, str) and len(digest) == 64 else None

    def _write(self, real: Path, found: tuple[int, ...], digest: str) -> None:
        text = json.dumps({"path": str(real), "identity": found, "sha256": digest})
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_own(self._record(real), text.encode())


def combined(hashes: Sequence[str]) -> str:
    """Return a model's SHA-256, given those of its files in hex, in order.

    That of a single file is the file's own. That of a split model is the SHA-256 of the list of them, one a
    line: ``sha256sum NAME-*-of-00003.gguf | cut -c -64 | sha256sum`` prints it.
    """
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(f"{each}\n" for each in hashes).encode()).hexdigest()


def hash_descriptor(descriptor: int, name: str = "", show: Show = silent) -> str:
    """Return the SHA-256 of an open file's current content, in hex; raise OSError if it is unreadable.

    Args:
        descriptor: The file.
        name: What to call it in lines of progress.
        show: Takes lines of progress.
    """
    meter = Meter(f"hashing {name}", show, os.fstat(descriptor).st_size)
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    at = 0
    while count := os.preadv(descriptor, [buffer], at):
        digest.update(buffer[:count])
        at += count
        meter(at)
    return digest.hexdigest()


def hash_file(path: Path, show: Show = silent) -> str:
    """Return the SHA-256 of a file's current content, in hex; raise OSError if it is unreadable."""
    with path.open("rb", buffering=0) as file:
        return hash_descriptor(file.fileno(), path.name, show)


def identity(descriptor: int) -> tuple[int, ...]:
    """Return device, inode, size, and times of the last change of content and of status in ns."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
