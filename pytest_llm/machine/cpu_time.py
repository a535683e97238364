"""What all processors together did since the machine started."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

# Those of guests come after them, and are in user and nice already.
_FIELDS = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]


@dataclass(frozen=True)
class ProcessorTime:
    """Ticks, of which there are 100 a second and processor on Linux (``SC_CLK_TCK``).

    Attributes:
        used: Something ran.
        stolen: Something was ready to run, and the host ran another machine instead.
    """

    used: int
    stolen: int

    @property
    def wanted(self) -> int:
        """Ticks in which something ran or would have."""
        return self.used + self.stolen

    def __sub__(self, earlier: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.used - earlier.used, self.stolen - earlier.stolen)

    def __add__(self, other: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.used + other.used, self.stolen + other.stolen)


def parse_stat(text: str) -> ProcessorTime | None:
    """Return the sum over all processors, from the first line of ``/proc/stat`` (see proc(5)).

    None if the line is not there, or so old that it knows no steal.
    """
    name, *columns = text.partition("\n")[0].split() or [""]
    if name != "cpu" or len(columns) < len(_FIELDS):
        return None
    with suppress(ValueError):
        ticks = dict(zip(_FIELDS, map(int, columns), strict=False))
        used = sum(ticks[field] for field in ("user", "nice", "system", "irq", "softirq"))
        return ProcessorTime(used, ticks["steal"])
    return None
