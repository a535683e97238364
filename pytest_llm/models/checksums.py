"""SHA-256 of models and their files, cached until a file changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

from pytest_llm.errors import ModelError
from pytest_llm.system.atomic_file import replace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CHUNK = 2**20
_MAX_RECORD_BYTES = 2**16  # a record is far smaller


class Hashes:
    """A cache of hashes, with one small JSON record per file.

    A hash is valid while the file's size, modification time and status change time stay the same. Records
    that cannot be read or written are ignored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file, in hex; raise ModelError if it is unreadable or changes meanwhile."""
        try:
            real = path.resolve()  # links to one file share its record
            before = _identity(real)
            known = self._recall(real, before)
            if known is not None:
                return known
            digest = hash_file(real)
            after = _identity(real)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from None
        if before[:2] != after[:2]:
            raise ModelError(f"{path} changes while it is read: wait until it is written")
        self._write(real, after, digest)
        return digest

    def model_sha256(self, parts: Sequence[Path]) -> str:
        """Return the SHA-256 of a model from its files: see :func:`combined`; raises as :meth:`sha256`."""
        return combined([self.sha256(each) for each in parts])

    def remember(self, path: Path, digest: str) -> None:
        """Store the SHA-256 that the caller has just computed; raise OSError if the file is gone."""
        real = path.resolve()
        self._write(real, _identity(real), digest)

    def _record(self, real: Path) -> Path:
        return self._folder / f"{hashlib.sha256(bytes(real)).hexdigest()[:32]}.json"

    def _recall(self, real: Path, identity: list[int]) -> str | None:
        try:
            with self._record(real).open("rb") as file:
                record = json.loads(file.read(_MAX_RECORD_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(record, dict):
            return None
        digest = record.get("sha256")
        same = record.get("path") == str(real) and record.get("identity") == identity
        return digest if same and isinstance(digest, str) and len(digest) == 64 else None

    def _write(self, real: Path, identity: list[int], digest: str) -> None:
        text = json.dumps({"path": str(real), "identity": identity, "sha256": digest})
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            replace(self._record(real), text.encode())


def combined(hashes: Sequence[str]) -> str:
    """Return a model's SHA-256, given those of its files in hex, in order.

    That of a single file is the file's own. That of a split model is the SHA-256 of the list of them, one a
    line: ``sha256sum NAME-*-of-00003.gguf | cut -c -64 | sha256sum`` prints it.
    """
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(f"{each}\n" for each in hashes).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's current content, in hex; raise OSError if it is unreadable."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
