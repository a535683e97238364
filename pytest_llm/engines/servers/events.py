"""Events of a stream: what its pieces say, each with the time at which it was complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.servers.client import MalformedError, RefusedError, error_text
from pytest_llm.errors import DataError
from pytest_llm.system import strict_json
from pytest_llm.system.http import http_library
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_llm.engines.servers.client import Piece

_EVENT_BYTES = 2**24  # the last one repeats the prompt
_DONE = "[DONE]"


class Event(NamedTuple):
    """One event: seconds after the request was sent, and its JSON; None for the mark of the end."""

    at: float
    data: dict[str, Any] | None


def read_events(pieces: Sequence[Piece]) -> Iterator[Event]:
    """Yield the events of a stream.

    Raises:
        RefusedError: One is an error, which servers send after the status 200 as well.
        MalformedError: The stream is no event stream, or an event is no object of JSON.
    """
    at = 0.0

    def taken() -> Iterator[bytes]:
        nonlocal at
        for piece in pieces:
            at = piece.at
            yield piece.data

    http = http_library()
    response = http.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=taken(),
        request=http.Request("POST", "http://localhost"),
    )
    try:
        for event in http.EventSource(response, max_event_size=_EVENT_BYTES):
            if event.data == _DONE:
                yield Event(at, None)
                continue
            answer = _object(event.data)
            if event.event == "error" or "error" in answer:
                raise RefusedError(200, clean(error_text(answer)))
            yield Event(at, answer)
    except http.TransportError as error:
        raise MalformedError(f"sent a stream that cannot be read ({clean(error)})") from None


def _object(text: str) -> dict[str, Any]:
    try:
        answer = strict_json.loads(text, limit=_EVENT_BYTES, what="it")
    except DataError as error:
        raise MalformedError(f"sent an event which {error.reason}") from None
    if not isinstance(answer, dict):
        raise MalformedError("sent an event which is no object of JSON")
    return answer
