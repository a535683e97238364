"""Manifest of a build, written last: a folder without one, or with a damaged one, is no build."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.builds.identity import Identity  # noqa: TC001 - the codec reads annotations
from pytest_llm.errors import DataError
from pytest_llm.records import Build  # noqa: TC001 - the codec reads annotations
from pytest_llm.records.serialization import DecodeError, decode, encode
from pytest_llm.system import atomic_file, strict_json

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "manifest.json"
_SCHEMA = 1
_MAX_BYTES = 2**20


@dataclass(frozen=True)
class Manifest:
    """A build that was made."""

    identity: Identity
    description: Build  # as it described itself when it first ran
    made: str  # UTC
    seconds: float  # of making it
    tool: str  # "uv 0.9.0", "cmake 3.25.1"
    sha256: str = ""  # of the archive that it was unpacked from
    schema_version: int = _SCHEMA


def read(folder: Path) -> Manifest | None:
    """Return a folder's manifest; None if it has no sound one."""
    try:
        document = strict_json.read(folder / _NAME, limit=_MAX_BYTES)
        if not isinstance(document, dict):
            return None
        found = decode(Manifest, document)
    except (DataError, DecodeError):
        return None
    return found if found.schema_version == _SCHEMA and folder.name == found.identity.key else None


def write(folder: Path, manifest: Manifest) -> None:
    """Make the folder a build, on the disk, before this returns."""
    atomic_file.replace_own(folder / _NAME, json.dumps(encode(manifest), indent=1).encode())


def remove(folder: Path) -> None:
    """Make the folder no build any more, on the disk, before this returns; its other files stay."""
    if folder.is_dir():
        atomic_file.remove(folder / _NAME)
