"""A file of baselines as text: strict JSON that is sorted, versioned, checked and sealed by a digest.

Stored values decide whether a build is called slower, and a flipped digit is valid JSON. So a file carries
the digest of everything else in it, and a file with a wrong digest is refused: it is damaged, or edited by
hand, and a number that was not measured is no baseline. A pull request still shows what changed, line by
line; to change a baseline is to accept a run again, also if two branches did and git cannot merge them. The
digest guards against accidents, not against someone who computes it anew.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_llm.baselines.records import VERSION, MachineFile, PortableFile
from pytest_llm.errors import BaselineError, DataError
from pytest_llm.records.serialization import DecodeError, Document, decode, encode, short
from pytest_llm.system import strict_json

if TYPE_CHECKING:
    from pathlib import Path

File = TypeVar("File", MachineFile, PortableFile)

MACHINE = Document(MachineFile, "Runs of one machine, version 1")
PORTABLE = Document(PortableFile, "Invariants of every machine, version 1")

# A thousand tests with four metrics of twenty runs each take three quarters of it; larger files are not ours.
MAX_BYTES = 48 * 2**20

# The sides that the lines after a conflict marker belong to.
_MARKS = {
    b"<<<<<<<": ("ours",),
    b"|||||||": (),
    b"=======": ("theirs",),
    b">>>>>>>": ("ours", "theirs"),
}

_AGAIN = "restore it from version control, or delete it and accept the results again"


def parse(data: bytes, document: Document[File], path: Path) -> File:
    """Return what a file holds.

    Args:
        data: The file, whole.
        document: Which of the two kinds it is.
        path: What to call the file in messages.

    Raises:
        BaselineError: It is too large, not JSON, of another version, out of shape, or its digest is wrong.
    """
    try:
        value = _load(data, path)
        _check_version(value, path)
        document.check(value)
        if value["digest"] != _digest(value):
            raise BaselineError(f"{path} was edited by hand or damaged: {_AGAIN}")
        return decode(document.kind, value)
    except DecodeError as error:
        raise BaselineError(f"{path}: {error}; {_AGAIN}") from None


def compose(file: File, document: Document[File], path: Path) -> bytes:
    """Return the text of a file, its digest computed: equal content, equal bytes.

    Raises:
        BaselineError: The content is not of the shape, no text, or too large to be read again.
    """
    try:
        value = encode(replace(file, digest=""))
        value = {**value, "digest": _digest(value)}
        document.check(value)
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        data = f"{text}\n".encode()
    except DecodeError as error:
        raise BaselineError(f"{path}: {error}; {_AGAIN}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise BaselineError(f"{path} cannot hold this: {short(str(error))}") from None
    if len(data) > MAX_BYTES:
        raise BaselineError(
            f"{path} would have {len(data)} bytes, more than {MAX_BYTES}: split the test module"
        )
    try:
        strict_json.loads(data, limit=MAX_BYTES, what="it")  # as it will be read
    except DataError as error:
        raise BaselineError(f"{path} cannot hold this: {error}") from None
    return data


def _load(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = strict_json.loads(data, limit=MAX_BYTES, what=path)
    except DataError as error:
        if sides(data[: MAX_BYTES + 1]) is not None:
            merge = f"pytest-llm baselines merge {shlex.quote(str(path))}"
            raise BaselineError(f"{path} has merge conflicts: join both sides with {merge}") from None
        raise BaselineError(f"{error}; {_AGAIN}") from None
    if not isinstance(value, dict):
        raise BaselineError(f"{path}: $ is not an object; {_AGAIN}")
    return value


def sides(data: bytes) -> tuple[bytes, bytes] | None:
    """Return both sides of a file with git's conflict markers; None if it has none."""
    both: dict[str, list[bytes]] = {"ours": [], "theirs": []}
    here: tuple[str, ...] = tuple(both)
    for line in data.splitlines(keepends=True):
        mark = _MARKS.get(line[:7]) if line[7:8] in (b" ", b"\n", b"\r", b"") else None
        if mark is not None:
            here = mark
        else:
            for side in here:
                both[side].append(line)
    ours, theirs = (b"".join(lines) for lines in both.values())
    return None if ours == theirs == data else (ours, theirs)


def _check_version(value: dict[str, Any], path: Path) -> None:
    version = value.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise BaselineError(f"{path}: $.schema_version is not a version; {_AGAIN}")
    if version > VERSION:
        raise BaselineError(
            f"{path} is of version {version}, this plugin reads up to {VERSION}: upgrade pytest-llm-bench"
        )
    if version < VERSION:
        raise BaselineError(
            f"{path} is of version {version}, this plugin reads from {VERSION} on: delete it and accept the "
            "results again"
        )


def _digest(value: dict[str, Any]) -> str:
    content = {name: each for name, each in value.items() if name != "digest"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
