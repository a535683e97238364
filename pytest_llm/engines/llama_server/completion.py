"""Streamed answers of ``POST /completion``: when each token came, and if the answer is the one asked for.

A chunk is no token: the server may put several into one, or hold text back. ``tokens_predicted`` counts them.
Of its own timings only the count of cached tokens is used, because their meaning changed between builds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.servers.client import MalformedError, UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llm.engines.servers.events import Event


class Completion(NamedTuple):
    """A whole answer.

    Attributes:
        arrivals: For each token, the seconds after the request was sent at which it came.
        ids: Of the tokens; fewer where the server puts several into a chunk.
        leads: The lead of each token over the next likeliest one, in nats, if it was asked for.
        prompt: Tokens of the prompt.
        cached: How many of them were in the cache.
    """

    arrivals: tuple[float, ...]
    ids: tuple[int, ...]
    leads: tuple[float, ...]
    prompt: int
    cached: int

    @property
    def gaps(self) -> tuple[float, ...]:
        """The seconds between neighbouring tokens; 0 for one that came in the chunk of the one before."""
        return tuple(after - before for before, after in zip(self.arrivals, self.arrivals[1:], strict=False))


def read_completion(events: Iterable[Event], count: int) -> Completion:
    """Return the answer in a stream.

    Args:
        events: Of the stream.
        count: Tokens that were asked for.

    Raises:
        AnswerError: The server refused, sent other counts, stopped for another reason, or broke off.
    """
    arrivals: list[float] = []
    ids: list[int] = []
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
    reason = last.get("stop_type", "limit" if last.get("stopped_limit") else "another reason")
    if reason != "limit" or len(arrivals) != count:
        raise UnfitError(f"stopped after {len(arrivals)} of {count} tokens ({reason})")
    prompt = _count(last, "tokens_evaluated")
    return Completion(tuple(arrivals), tuple(ids), tuple(leads), prompt, _cached(last, prompt))


def _cached(last: dict[str, Any], prompt: int) -> int:
    timings = last.get("timings")
    if not isinstance(timings, dict):
        raise MalformedError("sent no timings")
    if "cache_n" in timings:
        return _count(timings, "cache_n")
    return prompt - _count(timings, "prompt_n")  # older builds


def _leads(data: dict[str, Any]) -> list[float]:
    found = []
    for each in data.get("completion_probabilities") or []:
        top = [likely["logprob"] for likely in each.get("top_logprobs") or []]
        if len(top) > 1:
            found.append(float(top[0] - top[1]))
    return found


def _count(data: dict[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if type(value) is not int or value < 0:
        raise MalformedError(f"sent {name}={value!r:.60}, which is no count")
    return value
