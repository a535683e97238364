"""What is written last into a build that was made: where it is missing or damaged, there is no build."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.builds.identity import Identity  # noqa: TC001 - the codec reads annotations
from pytest_llm.records import Build  # noqa: TC001 - the codec reads annotations
from pytest_llm.records.serialization import DecodeError, decode, encode
from pytest_llm.system import atomic_file

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "manifest.json"
_SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """A build that was made.

    Attributes:
        identity: What was asked for.
        said: What it said of itself when it first ran.
        made: When, in UTC.
        seconds: How long that took.
        uv: What made it: "uv 0.9.0", "cmake 3.25.1".
        schema_version: Of this file.
    """

    identity: Identity
    said: Build
    made: str
    seconds: float
    uv: str
    schema_version: int = _SCHEMA


def read(folder: Path) -> Manifest | None:
    """Return a folder's manifest; None if it has none that can be believed."""
    try:
        document = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            return None
        found = decode(Manifest, document)
    except (OSError, ValueError, DecodeError):
        return None
    return found if found.schema_version == _SCHEMA and folder.name == found.identity.key else None


def write(folder: Path, manifest: Manifest) -> None:
    """Have the folder be a build, on the disk, before this returns.

    Raises:
        OSError: It cannot be written.
    """
    atomic_file.replace(folder / _NAME, json.dumps(encode(manifest), indent=1).encode())


def remove(folder: Path) -> None:
    """Have the folder be no build any more, on the disk, before this returns; what is in it stays.

    Raises:
        OSError: It cannot be removed.
    """
    if folder.is_dir():
        atomic_file.remove(folder / _NAME)
