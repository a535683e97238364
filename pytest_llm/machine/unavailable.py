"""What stands where a source would, on a machine that has none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Absent:
    """A source that this machine does not have.

    Attributes:
        why: What is missing, as a clause: "no /proc/stat".
    """

    why: str
