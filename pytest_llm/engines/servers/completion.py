"""A whole answer of a server, as a caller gets it: when each token came, and what the server counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.engines.servers.client import UnfitError

if TYPE_CHECKING:
    from collections.abc import Sequence


class DiscardedError(UnfitError):
    """A request that does not count and may be sent again; the message is a predicate of the server."""


class StoppedEarlyError(DiscardedError):
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


def completion_of(pieces: Sequence[tuple[float, str]], count: int, usage: Usage) -> Completion:
    """Return the answer of so many tokens whose text came in pieces; where these are fewer, the longest held
    the others.

    Raises:
        UnfitError: There is no text, or there are more pieces than tokens.
    """  # noqa: D205 - one sentence
    if not pieces:
        raise UnfitError(f"sent no text for {count} tokens")
    if len(pieces) > count:
        raise UnfitError(f"sent {len(pieces)} pieces of text where {count} tokens were asked for")
    tokens = [1] * len(pieces)
    for _ in range(count - len(pieces)):
        densest = max(range(len(pieces)), key=lambda at: len(pieces[at][1]) / tokens[at])
        tokens[densest] += 1
    arrivals = tuple(at for (at, _), held in zip(pieces, tokens, strict=True) for _ in range(held))
    return Completion(arrivals, "".join(text for _, text in pieces), usage)


def count_of(value: object) -> int | None:
    """Return a count; None of what is none."""
    return value if type(value) is int and value >= 0 else None
