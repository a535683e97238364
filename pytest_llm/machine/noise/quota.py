"""Threads that were stopped because their control group had used up its processor time."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_llm.machine.unavailable import Unavailable
from pytest_llm.system.cgroups import cpu_groups
from pytest_llm.system.procfs import KernelFile, moved

if TYPE_CHECKING:
    from pathlib import Path

# How often, and for how long (in version 2 and in version 1): a stop that began before the stretch and
# ended in it moves only the second.
_COUNTERS = ("nr_throttled", "throttled_usec", "throttled_time")

REASON = "CPU quota used up"


class UsedUpQuota:
    """Judges a stretch by ``cpu.stat`` of this process's group and of those around it."""

    def __init__(self, groups: list[KernelFile]) -> None:
        """Begin the first stretch."""
        self._groups = groups
        self.mark()

    def mark(self) -> None:
        """Begin a stretch."""
        self._marked = self._read()

    def since_mark(self) -> tuple[str, ...]:
        """Return the reason, if any group was stopped."""
        return (REASON,) if moved(self._marked, self._read()) else ()

    def _read(self) -> list[str]:
        return [_throttled(group.read()) for group in self._groups]


def find(root: Path) -> UsedUpQuota | Unavailable:
    """Return the source; unavailable where no control group counts how often it was stopped."""
    groups = []
    for folder in cpu_groups(root):
        with suppress(OSError):
            groups.append(KernelFile(folder / "cpu.stat"))
    groups = [group for group in groups if _throttled(group.read())]
    return UsedUpQuota(groups) if groups else Unavailable("no control group counts throttling in cpu.stat")


def _throttled(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith(_COUNTERS))
