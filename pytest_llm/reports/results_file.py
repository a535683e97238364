"""The results file: its text, and its reading and writing with every check."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import DataError, DataMissingError, ResultsError, UsageError
from pytest_llm.records.serialization import DecodeError, Document, decode, encode, short
from pytest_llm.reports.document import VERSION, Results
from pytest_llm.system import atomic_file, strict_json
from pytest_llm.system.text import json_without_commands, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytest_llm.reports.document import TestEntry
    from pytest_llm.reports.verdict_entries import DriftEntry

DOCUMENT = Document(Results, "Results of pytest-llm-bench, version 1")

# A thousand tests of fifteen sessions take half of it.
MAX_BYTES = 64 * 2**20


def render(results: Results) -> str:
    """Return the text of the file.

    Raises:
        ResultsError: A value is out of its bounds; the message names the place.
    """
    try:
        return json_without_commands(json.dumps(DOCUMENT.encode(results), indent=1, allow_nan=False))
    except (DecodeError, ValueError, RecursionError) as error:
        raise ResultsError(f"no results: {short(str(error))}") from None


def write(path: Path, results: Results) -> None:
    """Write the file whole or not at all; a test with a value out of its bounds is written as not measured.

    Raises:
        UsageError: It cannot be written there.
        ResultsError: A test was written as not measured, or the file is larger than :func:`read` takes; or
            nothing is written, because nothing that was measured could be.
    """
    problems: list[str] = []
    try:
        text = render(results)
    except ResultsError:
        storable, problems = storable_part(results)
        text = render(storable)
    _replace(path, text)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ResultsError(f"{path} lacks the results of {problems[0]}{more}")
    if len(text) >= MAX_BYTES:
        raise ResultsError(
            f"{path} has more than {MAX_BYTES} bytes, which no command reads: run fewer tests at once"
        )


def write_early(path: Path, results: Results) -> None:
    """Write the file of a run that goes on, whole or not at all; it is checked when it is read.

    Checking takes twenty times as long as writing, and this is done after every session and test. A pipe or
    device is left alone: it would get one file after the other.

    Raises:
        UsageError: It cannot be written there.
        ResultsError: Nothing that was measured can be written.
    """
    if not atomic_file.is_replaced(path):
        return
    try:
        text = json.dumps(encode(results), allow_nan=False)
    except (ValueError, RecursionError):
        text = render(storable_part(results)[0])
    _replace(path, text)


def storable_part(results: Results) -> tuple[Results, list[str]]:
    """Return results without what cannot be stored, and why: one bad value must not lose the other tests.

    A test with such a value has neither run nor verdicts, and says why; it is left out if it declares one.

    Raises:
        ResultsError: Nothing that was measured is left.
    """
    tests, problems = [], []
    for test in results.tests:
        reason = _problem(_only(results, [test]))
        if reason:
            problems.append(f"{test.nodeid}: {reason}")
            unmeasured = _unmeasured(test, f"its results cannot be stored: {reason}")
            tests += [] if _problem(_only(results, [unmeasured])) else [unmeasured]
        else:
            tests.append(test)
    if not any(test.run for test in tests):
        render(results)  # which says what is wrong
    return _only(results, tests), problems


def _problem(results: Results) -> str:
    try:
        render(results)
    except ResultsError as error:
        return str(error).removeprefix("no results: ")
    return ""


def _only(results: Results, tests: Sequence[TestEntry]) -> Results:
    """Return results of these tests alone, with the runs and pairs that they name."""
    named = {name for test in tests for name in _pairs_of(test)}
    pairs = {name: pair for name, pair in results.pairs.items() if name in named}
    sides = {side for pair in pairs.values() for side in (pair.candidate, pair.reference)}
    own = sides | {test.run for test in tests}
    runs = {name: run for name, run in results.runs.items() if name in own}
    nodeids = {test.nodeid for test in tests}
    not_covered = tuple(each for each in results.not_covered if each.nodeid in nodeids)
    return replace(results, tests=tuple(tests), runs=runs, pairs=pairs, not_covered=not_covered)


def _pairs_of(test: TestEntry) -> Iterator[str]:
    for entry in test.metrics.values():
        yield from entry.pairs
        yield from _pair_of(entry.claim.drift if entry.claim is not None else None)
    yield from _pair_of(test.drift)
    yield from [test.inside] if test.inside is not None else []


def _pair_of(drift: DriftEntry | None) -> list[str]:
    return [drift.pair] if drift is not None and drift.pair is not None else []


def _unmeasured(test: TestEntry, note: str) -> TestEntry:
    nothing: dict[str, Any] = dict.fromkeys(
        ("model", "effective_options", "run", "drift", "output", "memory", "inside"), None
    )
    return replace(test, **nothing, metrics={}, operators=(), unmet=(), notes=(note,))


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
        ResultsError: It cannot be read, is no regular file, too large, not strict JSON, of another version,
            or not of the shape.
    """
    return decoded(path, read_plain(path))


def decoded(path: Path, value: dict[str, Any]) -> Results:
    """Return the record of what :func:`read_plain` has read; raises as :func:`read`."""
    try:
        results = decode(Results, value)
    except DecodeError as error:
        raise ResultsError(f"{path}: no results: {error}") from None
    named = [test.run for test in results.tests if test.run is not None]
    named += [run for pair in results.pairs.values() for run in (pair.candidate, pair.reference)]
    missing = sorted({*named} - {*results.runs})
    if missing:
        raise ResultsError(f"{path}: no results: $.runs: {missing[0]!r} is named and is not there")
    if started(results) is None:
        raise ResultsError(f"{path}: started is {results.started!r}, not a time with its zone")
    return results


def started(results: Results) -> datetime | None:
    """Return when a run began; None if that is no time with its zone."""
    try:
        found = datetime.fromisoformat(results.started.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def read_plain(path: Path) -> dict[str, Any]:
    """Return what a results file holds, as plain values; raises as :func:`read`."""
    try:
        value = strict_json.read(path, limit=MAX_BYTES)
    except DataMissingError as error:
        raise ResultsError(str(error)) from None
    except DataError as error:
        raise ResultsError(f"{error}: name a file that pytest --llm-json has written to its end") from None
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise ResultsError(
            f"{path} is of version {version}, this plugin reads up to {VERSION}: upgrade pytest-llm-bench"
        )
    try:
        DOCUMENT.check(value)
    except DecodeError as error:
        raise ResultsError(f"{path}: no results: {error}") from None
    found: dict[str, Any] = visible(value)
    return found
