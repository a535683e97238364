"""Streamed answers of ``POST /completion``: when each token came, and if the answer is the one asked for.

A chunk is no token: the server may put several into one, or hold text back. ``tokens_predicted`` counts them.
Of its own timings only the count of cached tokens is used, because their meaning changed between builds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.servers.client import MalformedError, UnfitError
from pytest_llm.records.generation import Likely

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llm.engines.servers.events import Event


class Completion(NamedTuple):
    """A whole answer.

    Attributes:
        arrivals: For each token, the seconds after the request was sent at which it came.
        ids: Of the tokens; fewer where the server puts several into a chunk.
        texts: What each chunk with tokens adds to the text.
        leads: The lead of each token over the next likeliest one, in nats, if it was asked for.
        prompt: Tokens of the prompt.
        cached: How many of them were in the cache.
        ended: The model ended the text, with a token that is not among these.
        drafted: Tokens that another model, or a table of phrases, proposed.
        accepted: How many of these are in the text.
    """

    arrivals: tuple[float, ...]
    ids: tuple[int, ...]
    texts: tuple[str, ...]
    leads: tuple[float, ...]
    prompt: int
    cached: int
    ended: bool = False
    drafted: int = 0
    accepted: int = 0

    def check_cached(self, prompt: int, cached: int) -> None:
        """Raise ``UnfitError`` if another number of ids was decoded than a slice times."""
        if (self.prompt, self.cached) != (prompt, cached):
            raise UnfitError(
                f"decoded {self.prompt - self.cached} of {self.prompt} ids anew where {prompt - cached} of "
                f"{prompt} were new: its cache of this model cannot be continued"
            )

    @property
    def gaps(self) -> tuple[float, ...]:
        """The seconds between neighbouring tokens; 0 for one that came in the chunk of the one before."""
        return tuple(after - before for before, after in zip(self.arrivals, self.arrivals[1:], strict=False))


def read_completion(events: Iterable[Event], count: int, *, may_end: bool = False) -> Completion:
    """Return the answer in a stream.

    Args:
        events: Of the stream.
        count: Tokens that were asked for.
        may_end: Whether the model may end the text before that.

    Raises:
        AnswerError: The server refused, sent other counts, stopped for another reason, or broke off.
    """
    arrivals: list[float] = []
    ids: list[int] = []
    texts: list[str] = []
    leads: list[float] = []
    last: dict[str, Any] | None = None
    for event in events:
        if event.data is None:
            continue
        last = event.data
        more = _count(last, "tokens_predicted") - len(arrivals)
        if more > 0:
            arrivals += [event.at] * more
            ids += [each for each in last.get("tokens") or [] if type(each) is int]
            texts.append(str(last.get("content", "")))
            leads += _leads(last)
        if len(arrivals) > count:
            raise UnfitError(f"generated {len(arrivals)} tokens where {count} were asked for")
        if last.get("stop"):
            break
    if last is None or not last.get("stop"):
        raise MalformedError(
            f"ended a stream after {len(arrivals)} of {count} tokens, without its last event"
        )
    if last.get("truncated"):
        raise UnfitError("cut the prompt: raise n_ctx")
    reason = last.get("stop_type", _older_reason(last))
    ended = may_end and reason == "eos"
    if not ended and (reason != "limit" or len(arrivals) != count):
        raise UnfitError(f"stopped after {len(arrivals)} of {count} tokens ({reason})")
    if ended and len(ids) == len(arrivals):  # the one that ends it
        arrivals, ids, texts, leads = arrivals[:-1], ids[:-1], texts[:-1], leads[:-1]
    prompt = _count(last, "tokens_evaluated")
    cached = _cached(last, prompt)
    timings = last["timings"]
    drafted, accepted = (_count(timings, name) for name in ("draft_n", "draft_n_accepted"))
    return Completion(
        tuple(arrivals), tuple(ids), tuple(texts), tuple(leads), prompt, cached, ended, drafted, accepted
    )


def _older_reason(last: dict[str, Any]) -> str:
    return next((name for name in ("limit", "eos") if last.get(f"stopped_{name}")), "another reason")


def _cached(last: dict[str, Any], prompt: int) -> int:
    timings = last.get("timings")
    if not isinstance(timings, dict):
        raise MalformedError("sent no timings")
    if "cache_n" in timings:
        return _count(timings, "cache_n")
    return prompt - _count(timings, "prompt_n")  # older builds


def _leads(data: dict[str, Any]) -> list[float]:
    found: list[float] = []
    for each in data.get("completion_probabilities") or []:
        top = read_likely(each)
        if len(top) > 1:
            found.append(top[0].logprob - top[1].logprob)
    return found


def read_likely(position: dict[str, Any]) -> list[Likely]:
    """Return the likeliest tokens of one position, likeliest first; a logarithm of NaN is NaN.

    Raises:
        MalformedError: They are not written as llama-server does from December 2024 on.
    """
    try:
        return [
            Likely(each["id"], each["token"], math.nan if each["logprob"] is None else float(each["logprob"]))
            for each in position["top_logprobs"]
        ]
    except (KeyError, TypeError, ValueError):
        raise MalformedError("sent probabilities in a form of its own") from None


def _count(data: dict[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if type(value) is not int or value < 0:
        raise MalformedError(f"sent {name}={value!r:.60}, which is no count")
    return value
