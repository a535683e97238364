"""Streamed answers of ``POST /api/generate``: lines of JSON, of which the last one counts.

What goes wrong is not told by the status, which is 200 long before: an error is a line of its own, and some
streams just end. An answer counts only if its last line is there, and its counts are as asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.servers.client import MalformedError, RefusedError, error_text
from pytest_llm.engines.servers.completion import (
    DiscardedError,
    StoppedEarlyError,
    Usage,
    completion_of,
    count_of,
)
from pytest_llm.errors import DataError
from pytest_llm.system import strict_json
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_llm.engines.servers.client import Piece
    from pytest_llm.engines.servers.completion import Completion

_LINE_BYTES = 2**20
# llm/llama_server.go, Completion: after more than 30 equal pieces in a row the request is dropped.
_MOST_EQUAL = 30
# Seconds by the server's own account. A model that is there takes milliseconds.
_LOADED_AGAIN = 0.25
_NANOSECONDS = 1e-9


class Line(NamedTuple):
    """Seconds after the request was sent at which a line was complete, and its JSON."""

    at: float
    data: Mapping[str, Any]


def read_lines(pieces: Iterable[Piece]) -> Iterator[Line]:
    """Yield the lines of a stream.

    Raises:
        RefusedError: One is an error.
        MalformedError: A line is no object of JSON, or the last one is not whole.
    """
    unread, at = b"", 0.0
    for piece in pieces:
        at = piece.at
        *whole, unread = (unread + piece.data).split(b"\n")
        for each in whole:
            if each.strip():
                yield Line(at, _object(each))
    if unread.strip():
        yield Line(at, _object(unread))


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        found = strict_json.loads(line, limit=_LINE_BYTES, what="it")
    except DataError as error:
        raise MalformedError(f"sent a line which {error.reason}") from None
    if not isinstance(found, dict):
        raise MalformedError("sent a line which is no object of JSON")
    if "error" in found:
        raise RefusedError(200, clean(error_text(found)))
    return found


def read_completion(lines: Iterable[Line], count: int) -> Completion:
    """Return the answer in a stream.

    Args:
        lines: Of the stream.
        count: Tokens that were asked for.

    Raises:
        StoppedEarlyError: The answer is shorter, or the server gave up on a text that repeats itself.
        DiscardedError: The server loaded the model again.
        AnswerError: The server refused, counted otherwise, or broke off.
    """
    pieces: list[tuple[float, str]] = []
    last: Mapping[str, Any] | None = None
    for line in lines:
        text = _text(line.data)
        if text:
            pieces.append((line.at, text))
        if line.data.get("done") is True:
            last = line.data
            break
    if last is None:
        if _is_dropped([text for _, text in pieces]):
            raise StoppedEarlyError(
                f"dropped a request after more than {_MOST_EQUAL} equal pieces of text in a row"
            )
        raise MalformedError(f"ended a stream after {len(pieces)} pieces without its last line (done)")
    load = last.get("load_duration")
    if isinstance(load, (int, float)) and load * _NANOSECONDS > _LOADED_AGAIN:
        raise DiscardedError(f"loaded the model again, for {load * _NANOSECONDS:.2g} s")
    usage = Usage(count_of(last.get("prompt_eval_count")), count_of(last.get("eval_count")))
    reason = last.get("done_reason")
    if reason != "length" or usage.generated != count:
        raise StoppedEarlyError(f"stopped after {usage.generated} of {count} tokens ({clean(str(reason))})")
    return completion_of(pieces, count, usage)


def _text(data: Mapping[str, Any]) -> str:
    """Return the text of a line, thought or said: both are tokens."""
    found = [data.get(name) for name in ("thinking", "response")]
    return "".join(each for each in found if isinstance(each, str))


def _is_dropped(texts: Sequence[str]) -> bool:
    last = [each.strip() for each in texts[-_MOST_EQUAL:]]
    return len(last) == _MOST_EQUAL and len(set(last)) == 1
