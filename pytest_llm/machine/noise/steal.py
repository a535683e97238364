"""Noise of CPU steal: processor time that the host gave to other machines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pytest_llm.machine.unavailable import Unavailable
from pytest_llm.system.procfs import KernelFile, ProcessorTime, parse_stat

if TYPE_CHECKING:
    from pathlib import Path

# A twentieth of the time that was wanted: as much as the slowdowns that are looked for, and more than a
# quiet host takes.
MOST_STOLEN = 0.05
# The kernel counts whole ticks of 10 ms, so over fewer than 100 of them a single one reads as more than 1 %.
LEAST_TICKS = 100

REASON = f"CPU steal above {MOST_STOLEN:.0%}"


class Steal:
    """Judges a stretch by the stolen share of the wanted processor time.

    Idle time does not count: on 64 processors, four threads that lose half their time lose 3 % of the
    machine's. A stretch of fewer than ``LEAST_TICKS`` is judged together with those just before it; if even
    they are too few, it is not judged.
    """

    def __init__(self, stat: KernelFile) -> None:
        self._stat = stat
        self._earlier: deque[ProcessorTime] = deque(maxlen=LEAST_TICKS)
        self._ended: ProcessorTime | None = None
        self._marked = self._read()

    def mark(self) -> None:
        if self._ended and self._marked:
            self._earlier.append(self._ended - self._marked)
        self._ended = None
        self._marked = self._read()

    def since_mark(self) -> tuple[str, ...]:
        self._ended = self._read()
        if not (self._ended and self._marked):
            return ()
        judged = self._ended - self._marked
        for stretch in reversed(self._earlier):
            if judged.wanted >= LEAST_TICKS:
                break
            judged += stretch
        enough = judged.wanted >= LEAST_TICKS
        return (REASON,) if enough and judged.stolen > MOST_STOLEN * judged.wanted else ()

    def _read(self) -> ProcessorTime | None:
        return parse_stat(self._stat.read())


def find(root: Path) -> Steal | Unavailable:
    """Return the source, or why it is unavailable."""
    try:
        stat = KernelFile(root / "proc/stat")
    except OSError:
        return Unavailable("no /proc/stat")
    return Steal(stat) if parse_stat(stat.read()) else Unavailable("/proc/stat counts no steal")
