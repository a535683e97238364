"""What a process holds on to at this moment: the reading that a leak shows in.

A reading takes as long as the kernel needs to walk the process's pages, so it is taken beside no clock.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_llm.records.device_memory import HOST_ALONE, WITH_DEVICES, Holding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PROC = Path("/proc")
_WANTED = ("Anonymous", "Swap")


class HeldMemory:
    """Anonymous memory of a process, swapped out or not, with what devices hold for it where they tell."""

    def __init__(self, proc: Path = _PROC, devices: Callable[[int], float | None] = lambda _: None) -> None:
        """Read below ``proc``, and ask ``devices`` for the bytes that a process holds there."""
        self._proc = proc
        self._devices = devices
        self._on_devices: set[int] = set()

    def __call__(self, pid: int) -> Holding | None:
        """Return what is held now.

        Returns:
            None where the process is gone, nothing tells, or devices told before and no longer do: what is
            held there is not gone because a device is.
        """
        own = self._anonymous(pid)
        if own is None:
            return None
        there = self._devices(pid)
        if there is not None:
            self._on_devices.add(pid)
            return Holding(own + there, WITH_DEVICES)
        return None if pid in self._on_devices else Holding(own, HOST_ALONE)

    def _anonymous(self, pid: int) -> float | None:
        folder = self._proc / str(pid)
        # The counters of `status` are kept for each core and lag behind; the sum over pages does not.
        with suppress(OSError, ValueError):
            return _kibibytes((folder / "smaps_rollup").read_text(), _WANTED)
        with suppress(OSError, ValueError):
            return _kibibytes((folder / "status").read_text(), ("RssAnon", "VmSwap"))
        if self._proc.exists():
            return None
        with suppress(psutil.Error):
            return float(psutil.Process(pid).memory_full_info().uss)
        return None


def file_shares(pid: int, file: Path, proc: Path = _PROC) -> tuple[float, float]:
    """Return how much of a file a process has resident, and its share of that among all processes that do.

    Returns:
        Bytes: ``Rss`` and ``Pss`` of all mappings of the file, 0 where there are none.

    Raises:
        OSError: There is no such process, or the system has no such account of it.
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


def _kibibytes(text: str, wanted: Sequence[str]) -> float:
    """Return the sum of some fields, in bytes.

    Raises:
        ValueError: The first one is not there: a zombie has none.
    """
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if wanted[0] not in fields:
        raise ValueError(wanted[0])
    return sum(float(fields[name].split()[0]) * 1024 for name in wanted if name in fields)
