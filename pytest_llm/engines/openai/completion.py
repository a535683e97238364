"""Streamed answers of ``POST /v1/completions``: when each token came, and what the server counted.

A chunk is no token: servers hold text back and put several tokens into one. That as many came as were asked
for is known from ``finish_reason`` ("length") and, where the server tells it, from the usage, which may come
in a chunk of its own, in every chunk (zero until the last), or never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.engines.servers.client import MalformedError, UnfitError
from pytest_llm.engines.servers.completion import (
    StoppedEarlyError,
    Usage,
    completion_of,
    count_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_llm.engines.servers.completion import Completion
    from pytest_llm.engines.servers.events import Event


def read_completion(events: Iterable[Event], count: int, recounted: int = 0) -> Completion:
    """Return the answer in a stream.

    Args:
        events: Of the stream.
        count: Tokens that were asked for.
        recounted: By how many tokens the usage may be off, where the server counts by reading the text anew.

    Raises:
        StoppedEarlyError: The answer is shorter.
        AnswerError: The server refused, counted otherwise, or broke off.
    """
    pieces: list[tuple[float, str]] = []
    usage, reason = Usage(), None
    for event in events:
        if event.data is None:
            break
        usage = read_usage(event.data, usage)
        for choice in choices(event.data):
            if text := text_of(choice):
                pieces.append((event.at, text))
            reason = choice.get("finish_reason") or reason
    if reason is None:
        raise MalformedError(f"ended a stream after {len(pieces)} chunks without saying why (finish_reason)")
    off = 0 if usage.generated is None else usage.generated - count
    if off > recounted:
        raise UnfitError(f"generated {usage.generated} tokens where {count} were asked for")
    if reason != "length" or off < -recounted:
        told = f" after {usage.generated} of {count} tokens" if usage.generated is not None else ""
        raise StoppedEarlyError(f"stopped{told} ({reason})")
    return completion_of(pieces, count, usage)


def read_usage(data: Mapping[str, Any], before: Usage = Usage()) -> Usage:  # noqa: B008 - it is frozen
    """Return the usage in an answer or a chunk; what it does not tell is as before."""
    told = data.get("usage")
    if not isinstance(told, dict):
        told = {}
    details = told.get("prompt_tokens_details")
    timings = data.get("timings")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if cached is None and isinstance(timings, dict):  # llama-server's own
        cached = timings.get("cache_n")
    return Usage(
        count_of(told.get("prompt_tokens")) or before.prompt,
        count_of(told.get("completion_tokens")) or before.generated,
        before.cached if count_of(cached) is None else count_of(cached),
    )


def text_of(choice: Mapping[str, Any]) -> str:
    """Return the text of a choice; "" if it has none."""
    text = choice.get("text")
    return text if isinstance(text, str) else ""


def choices(data: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the choices in an answer or a chunk that are objects."""
    found = data.get("choices")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
