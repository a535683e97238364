"""Streamed answers of ``POST /v1/completions``: when each token came, and what the server counted.

A chunk is no token: servers hold text back and put several tokens into one. That as many came as were asked
for is known from ``finish_reason`` ("length") and, where the server tells it, from the usage, which may come
in a chunk of its own, in every chunk (zero until the last), or never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.servers.client import MalformedError, UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_llm.engines.servers.events import Event


class StoppedEarlyError(UnfitError):
    """The model ended its answer before as many tokens as were asked for."""


class Usage(NamedTuple):
    """Counts of a server; None for those that it does not tell."""

    prompt: int | None = None
    generated: int | None = None
    cached: int | None = None


class Completion(NamedTuple):
    """A whole answer.

    Attributes:
        arrivals: For each token, the seconds after the request was sent at which its text came.
        text: All of it.
        usage: As the server counted.
    """

    arrivals: tuple[float, ...]
    text: str
    usage: Usage


def read_completion(events: Iterable[Event], count: int) -> Completion:
    """Return the answer in a stream.

    Args:
        events: Of the stream.
        count: Tokens that were asked for.

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
    if usage.generated is not None and usage.generated > count:
        raise UnfitError(f"generated {usage.generated} tokens where {count} were asked for")
    if reason != "length" or usage.generated not in (None, count):
        told = f" after {usage.generated} of {count} tokens" if usage.generated is not None else ""
        raise StoppedEarlyError(f"stopped{told} ({reason})")
    if not pieces:
        raise UnfitError(f"sent no text for {count} tokens")
    if len(pieces) > count:
        raise UnfitError(f"sent {len(pieces)} pieces of text where {count} tokens were asked for")
    return Completion(_arrivals(pieces, count), "".join(text for _, text in pieces), usage)


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
        _count(told.get("prompt_tokens")) or before.prompt,
        _count(told.get("completion_tokens")) or before.generated,
        before.cached if _count(cached) is None else _count(cached),
    )


def text_of(choice: Mapping[str, Any]) -> str:
    """Return the text of a choice; "" if it has none."""
    text = choice.get("text")
    return text if isinstance(text, str) else ""


def choices(data: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the choices in an answer or a chunk that are objects."""
    found = data.get("choices")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _arrivals(pieces: Sequence[tuple[float, str]], count: int) -> tuple[float, ...]:
    """Return when each token came: where chunks are fewer, the longest ones held the others."""
    tokens = [1] * len(pieces)
    for _ in range(count - len(pieces)):
        densest = max(range(len(pieces)), key=lambda at: len(pieces[at][1]) / tokens[at])
        tokens[densest] += 1
    return tuple(at for (at, _), held in zip(pieces, tokens, strict=True) for _ in range(held))


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
