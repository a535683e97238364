"""The results file: its text, and its reading and writing with every check."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import ResultsError, UsageError
from pytest_llm.records.serialization import DecodeError, Document, decode, encode, short
from pytest_llm.reports.document import VERSION, Results
from pytest_llm.system import atomic_file

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = Document(Results, "Results of pytest-llm-bench, version 1")


def render(results: Results) -> str:
    """Return the text of the file.

    Raises:
        ResultsError: A value is out of its bounds; the message names the place.
    """
    try:
        return json.dumps(DOCUMENT.encode(results), indent=1, allow_nan=False)
    except DecodeError as error:
        raise ResultsError(f"no results: {error}") from None


def write(path: Path, results: Results) -> None:
    """Write the file whole or not at all.

    Raises:
        UsageError: It cannot be written there.
        ResultsError: A value is out of its bounds; nothing is written.
    """
    _replace(path, render(results))


def write_early(path: Path, results: Results) -> None:
    """Write the file of a run that goes on, whole or not at all; it is checked when it is read.

    Checking takes twenty times as long as writing, and this is done after every session and test.

    Raises:
        UsageError: It cannot be written there.
        ResultsError: A value is no number.
    """
    try:
        text = json.dumps(encode(results), allow_nan=False)
    except ValueError as error:
        raise ResultsError(f"no results: {error}") from None
    _replace(path, text)


def _replace(path: Path, text: str) -> None:
    data = f"{text}\n".encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.replace(path, data)
    except OSError as error:
        raise UsageError(
            f"--llm-json: {path} cannot be written ({error.strerror}); name another file"
        ) from error


def read(path: Path) -> Results:
    """Return what a results file holds; metrics of its runs are left out, as they follow from the sessions.

    Raises:
        ResultsError: It cannot be read, is not JSON, of another version, or not of the shape.
    """
    results = decode(Results, read_plain(path))
    named = [test.run for test in results.tests if test.run is not None]
    named += [run for pair in results.pairs.values() for run in (pair.candidate, pair.reference)]
    missing = sorted({*named} - {*results.runs})
    if missing:
        raise ResultsError(f"{path}: no results: $.runs: {missing[0]!r} is named and is not there")
    return results


def read_plain(path: Path) -> dict[str, Any]:
    """Return what a results file holds, as plain values; raises as :func:`read`."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not JSON: {short(str(error))}; was it cut off?") from None
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise ResultsError(
            f"{path} is of version {version}, this plugin reads up to {VERSION}: upgrade pytest-llm-bench"
        )
    try:
        DOCUMENT.check(value)
    except DecodeError as error:
        raise ResultsError(f"{path}: no results: {error}") from None
    assert isinstance(value, dict)
    return value
