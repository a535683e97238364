"""``<cache>/qualified/<fingerprint>.json``: what a machine showed, written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_llm.errors import UsageError
from pytest_llm.machine.qualification.record import Qualification
from pytest_llm.records.serialization import DecodeError, decode, encode
from pytest_llm.system import atomic_file

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1


@dataclass(frozen=True)
class Standing:
    """Whether a machine is qualified.

    Attributes:
        since: When it was, in ISO 8601; None if it is not.
        reason: Why it is not; "" if it is.
        found: What was seen on it; None if nothing was.
    """

    since: str | None
    reason: str = ""
    found: Qualification | None = None


def path_of(cache: Path, fingerprint: str) -> Path:
    """Return the file of a machine."""
    return cache / "qualified" / f"{fingerprint}.json"


def read(cache: Path, fingerprint: str) -> Standing:
    """Return whether a machine is qualified; a file that cannot be used means that it is not."""
    path = path_of(cache, fingerprint)
    try:
        found = _decode(json.loads(path.read_bytes()), fingerprint)
    except FileNotFoundError:
        return Standing(None, "never tried")
    except OSError as error:
        return Standing(None, f"{path} cannot be read: {error.strerror}")
    except (ValueError, RecursionError, DecodeError):
        return Standing(None, f"{path} is damaged")
    if isinstance(found, str):
        return Standing(None, f"{path} is {found}")
    return Standing(found.when if found.qualified else None, found.reason(), found)


def write(cache: Path, found: Qualification) -> Path:
    """Keep what was seen, in place of what was there; return the file.

    Raises:
        UsageError: It cannot be written.
    """
    path = path_of(cache, found.fingerprint)
    text = json.dumps({"schema_version": VERSION, **encode(found)}, indent=1, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.replace(path, text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); name another --cache") from error
    return path


def _decode(document: object, fingerprint: str) -> Qualification | str:
    """Return the record, or what else the document is."""
    if not isinstance(document, dict):
        raise ValueError
    version = document.pop("schema_version", None)
    if isinstance(version, int) and version > VERSION:
        return f"of version {version}, this plugin reads up to {VERSION}: upgrade pytest-llm-bench"
    if version != VERSION:
        raise ValueError
    found = decode(Qualification, document)
    if datetime.fromisoformat(found.when).tzinfo is None or not found.checks:
        raise ValueError
    return found if found.fingerprint == fingerprint else f"of another machine, {found.fingerprint}"
