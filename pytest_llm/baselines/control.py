"""The speed of the machine now and in stored runs: equal fingerprints are not always equal speeds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llm.records.units import SECONDS, TOKENS_PER_SECOND
from pytest_llm.stats.control import times_as_fast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import Control
    from pytest_llm.records.metric import Metric

_TITLES = {"arithmetic": "arithmetic", "bandwidth": "memory bandwidth"}
# What bounds the work of a series. A prompt uses each weight for many tokens, so its speed is that of
# arithmetic. All other work waits for memory or, if the weights fit into a cache, for arithmetic.
_BOUNDS = {"prompt": ("arithmetic",), "first_token": ("arithmetic",)}


def other_speed(metric: Metric, stored: Sequence[Control | None], now: Control | None) -> str:
    """Return how the speed of the machine differs from that of stored runs, "" if it is the same or unknown.

    Metrics that are no times or rates, such as memory, do not depend on it.
    """
    if now is None or metric.unit not in (SECONDS, TOKENS_PER_SECOND):
        return ""
    earlier = [each for each in stored if each is not None and now.comparable(each)]
    found: dict[str, float] = {}
    for rate in _BOUNDS.get(metric.series, tuple(_TITLES)):
        ratio = (
            times_as_fast([getattr(each, rate) for each in earlier], getattr(now, rate)) if earlier else None
        )
        if ratio is not None:
            found[rate] = ratio
    if not found:
        return ""
    rate = max(found, key=lambda each: abs(math.log(found[each])))
    ratio = found[rate]
    how = f"{ratio:.2g} times as fast" if ratio > 1 else f"{1 / ratio:.2g} times as slow"
    return f"the machine is {how} now ({_TITLES[rate]})"


def unknown_speed(metric: Metric, stored: Sequence[Control | None], now: Control | None) -> str:
    """Return why the speed of the machine was not compared although one side knows it; "" otherwise."""
    known = [each for each in stored if each is not None]
    if metric.unit not in (SECONDS, TOKENS_PER_SECOND) or (now is None and not known):
        return ""
    if now is not None and any(map(now.comparable, known)):
        return ""
    reason = "measured in another way" if now is not None and known else "not measured each time"
    return f"the machine's own speed was not compared: {reason}"
