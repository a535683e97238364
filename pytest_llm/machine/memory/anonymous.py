"""Anonymous memory of a process: what it has allocated, and does not merely map.

The kernel walks all pages of the process for a reading, so none is taken while something is timed.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_llm.records.device_memory import HOST_ALONE, WITH_DEVICES, MemoryReading
from pytest_llm.system.procfs import sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PROC = Path("/proc")


class AnonymousMemory:
    """Returns the anonymous memory of a process, swapped out or not, with its memory on devices if known."""

    def __init__(self, proc: Path = _PROC, devices: Callable[[int], float | None] = lambda _: None) -> None:
        self._proc = proc
        self._devices = devices
        self._on_devices: set[int] = set()

    def __call__(self, pid: int) -> MemoryReading | None:
        """Return the present reading.

        None if the process has ended, nothing is known, or devices listed the process before and no longer
        do: memory on a lost device is not a loss of memory.
        """
        own = self._anonymous(pid)
        if own is None:
            return None
        there = self._devices(pid)
        if there is not None:
            self._on_devices.add(pid)
            return MemoryReading(own + there, WITH_DEVICES)
        return None if pid in self._on_devices else MemoryReading(own, HOST_ALONE)

    def _anonymous(self, pid: int) -> float | None:
        folder = self._proc / str(pid)
        # The counters of `status` are kept for each core and lag behind; the sum over pages does not.
        with suppress(OSError, KeyError):
            return _sum((folder / "smaps_rollup").read_text(), ("Anonymous", "Swap"))
        with suppress(OSError, KeyError):
            return _sum((folder / "status").read_text(), ("RssAnon", "VmSwap"))
        if self._proc.exists():
            return None
        with suppress(psutil.Error):
            return float(psutil.Process(pid).memory_full_info().uss)
        return None


def file_shares(pid: int, file: Path, proc: Path = _PROC) -> tuple[float, float]:
    """Return ``Rss`` and ``Pss`` of all mappings of a file in a process, in bytes; 0 if there are none.

    Raises:
        OSError: There is no such process, or the system has no ``smaps``.
    """
    sums = {"Rss": 0.0, "Pss": 0.0}
    inside = False
    for line in (proc / str(pid) / "smaps").read_text().splitlines():
        first = line.split(None, 1)[0]
        if not first.endswith(":"):
            inside = line.endswith(f" {file}")
        elif inside and first[:-1] in sums:
            sums[first[:-1]] += float(line.split()[1]) * 1024
    return sums["Rss"], sums["Pss"]


def _sum(text: str, fields: Sequence[str]) -> float:
    """Return the sum of some sizes; raise KeyError without the first one, which a zombie lacks."""
    found = sizes(text, fields)
    return found.pop(fields[0]) + sum(found.values())
