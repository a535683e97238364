"""How much of the processors other processes use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable


class Processors(Protocol):
    """The processor times of the system."""

    def processors(self) -> int:
        """Return how many there are."""

    def used_seconds(self) -> float:
        """Return the processor time of all processes since the machine started."""

    def our_seconds(self) -> float:
        """Return the processor time of this process and its children, ended ones included."""


def watch_others(system: Processors) -> Callable[[float], float | None]:
    """Begin to watch; return a function that takes the seconds since then.

    It returns the share of all processors that others than this process and its children used, None if the
    system does not tell.
    """
    try:
        # Ours is asked for first and last, so that what we use while asking never counts as others'.
        ours, used = system.our_seconds(), system.used_seconds()
    except (psutil.Error, OSError):
        return lambda _: None

    def share(seconds: float) -> float | None:
        try:
            used_since = system.used_seconds() - used
            ours_since = system.our_seconds() - ours
        except (psutil.Error, OSError):
            return None
        return min(1.0, max(0.0, (used_since - ours_since) / (seconds * system.processors())))

    return share
