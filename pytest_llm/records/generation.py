"""Frozen records of talking with a model: how tokens are picked, what it answered, what it held likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Sampling:
    """How the next token is picked: greedily at temperature 0, else drawn with the seed."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Token:
    """A generated token; ``text`` is "" while a character of several tokens is unfinished."""

    id: int
    text: str


@dataclass(frozen=True)
class Completion:
    """What a model answered.

    Attributes:
        text: Without the stop text that ended it.
        tokens: The generated ids.
        finish: "stop" at an end-of-generation token or a stop text, "length" at ``max_tokens``.
        prompt_tokens: Tokens of the prompt.
    """

    text: str
    tokens: tuple[int, ...]
    finish: Literal["stop", "length"]
    prompt_tokens: int


@dataclass(frozen=True)
class Greedy:
    """Tokens that were the likeliest each time.

    Attributes:
        tokens: Their ids.
        leads: By how many nats each was likelier than the next one; none of a release that does not tell.
    """

    tokens: tuple[int, ...]
    leads: tuple[float, ...]


@dataclass(frozen=True)
class Likely:
    """A token that could follow, with the natural logarithm of its probability."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Position:
    """One position of a prompt.

    Attributes:
        token: The prompt's own token there.
        logprob: What its predecessors gave it, as a natural logarithm; None for the first.
        top: The tokens likeliest to follow it, likeliest first.
    """

    token: int
    logprob: float | None
    top: tuple[Likely, ...]
