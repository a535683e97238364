"""Noise of CPU quotas: threads that were stopped because a control group had used up its time."""

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
        self._groups = groups
        self.mark()

    def mark(self) -> None:
        self._marked = self._read()

    def since_mark(self) -> tuple[str, ...]:
        return (REASON,) if moved(self._marked, self._read()) else ()

    def _read(self) -> list[str]:
        return [_throttled(group.read()) for group in self._groups]


def find(root: Path) -> UsedUpQuota | Unavailable:
    """Return the source, or why it is unavailable."""
    groups = []
    for folder in cpu_groups(root):
        with suppress(OSError):
            groups.append(KernelFile(folder / "cpu.stat"))
    groups = [group for group in groups if _throttled(group.read())]
    return UsedUpQuota(groups) if groups else Unavailable("no control group counts throttling in cpu.stat")


def _throttled(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith(_COUNTERS))
