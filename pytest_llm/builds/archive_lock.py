"""Lock file of a project: the SHA-256 of each prebuilt archive that it has used, by URL.

It is written when an archive is used for the first time, and belongs into the project's repository.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import BuildError, DataError, DataMissingError
from pytest_llm.system import atomic_file, strict_json

if TYPE_CHECKING:
    from pathlib import Path

NAME = "pytest-llm.lock"
_SCHEMA = 1
_MAX_BYTES = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ArchiveLock:
    """The lock file."""

    def __init__(self, path: Path) -> None:
        """Take its path; it need not be there."""
        self.path = path

    def known(self, url: str) -> str:
        """Return the SHA-256 of an archive, "" if it was never used.

        Raises:
            BuildError: The file cannot be read, or is no lock file.
        """
        found: str = self._read().get(url, "")
        if found and not (isinstance(found, str) and _SHA256.fullmatch(found)):
            raise BuildError(f"{self.path}: {url} has no SHA-256 there: mend the line, or delete it")
        return found

    def check(self, url: str, sha256: str) -> None:
        """Record an archive that is used for the first time; refuse one that is not what it was.

        Raises:
            BuildError: It has changed, or cannot be recorded.
        """
        known = self.known(url)
        if known and known != sha256:
            raise BuildError(
                f"{url} has changed: its SHA-256 is {sha256}, and {self.path} has {known}: find out why, "
                "then delete that line to accept it"
            )
        if not known:
            self._record(url, sha256)

    def _read(self) -> dict[str, Any]:
        try:
            document = strict_json.read(self.path, limit=_MAX_BYTES)
        except DataMissingError:
            return {}
        except DataError as error:
            raise BuildError(f"{error}; restore the lock file of the archives") from None
        archives = document.get("archives") if isinstance(document, dict) else None
        if not isinstance(archives, dict) or document.get("schema_version") != _SCHEMA:
            raise BuildError(f"{self.path} is no lock file of archives: restore it, or move it away")
        return archives

    def _record(self, url: str, sha256: str) -> None:
        archives = {**self._read(), url: sha256}
        document = {"schema_version": _SCHEMA, "archives": dict(sorted(archives.items()))}
        try:
            atomic_file.replace(self.path, f"{json.dumps(document, indent=2)}\n".encode())
        except OSError as error:
            raise BuildError(
                f"{self.path} cannot be written ({error.strerror or error}), so that nobody would see if "
                f"{url} changed: make its folder writable, or commit the file from another machine"
            ) from None
