"""The reason why a source is unavailable on this machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unavailable:
    """A source that this machine does not have; ``reason`` is a clause: "no /proc/stat"."""

    reason: str
