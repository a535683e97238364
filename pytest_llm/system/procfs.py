"""Files of /proc and /sys: read once, or kept open and read again and again."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENOUGH = 4096  # bytes; every such file begins with the wanted part


class KernelFile:
    """One such file, kept open because opening costs more than reading, between slices."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)

    def read(self) -> str:
        """Return the file's beginning now, "" if it does not exist any more."""
        try:
            return os.pread(self._handle, _ENOUGH, 0).decode(errors="replace")
        except OSError:
            return ""


def read_word(path: Path) -> str | None:
    """Return a small file's text without white space around it, None if it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip()
    return None


def parse_list(text: str) -> frozenset[int]:
    """Return the numbers of the kernel's list format, or raise ``ValueError``: "0-3,8" is 0, 1, 2, 3, 8."""
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def sizes(text: str, fields: Sequence[str]) -> dict[str, float]:
    """Return sizes in bytes by field, from lines such as "VmHWM: 1024 kB"; a field may be missing."""
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {field: float(found[field].split()[0]) * 1024 for field in fields if field in found}


def mapped_files(pid: int) -> frozenset[str]:
    """Return the paths of the files that a process has mapped; none if the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/maps").read_bytes().decode(errors="surrogateescape")
    except OSError:
        return frozenset()
    # Address, rights, offset, device, inode, path; a removed file has a remark behind its path.
    paths = (line.split(None, 5)[5:] for line in text.splitlines())
    return frozenset(path[0].removesuffix(" (deleted)") for path in paths if path and path[0].startswith("/"))


def oom_kills() -> int:
    """Return how many processes the kernel has killed because memory ran out; 0 if it does not count them."""
    for line in (read_word(Path("/proc/vmstat")) or "").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


# The columns of guests come after these, and are in user and nice already.
_FIELDS = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]


@dataclass(frozen=True)
class ProcessorTime:
    """Ticks, of which there are 100 a second and processor on Linux (``SC_CLK_TCK``)."""

    used: int
    stolen: int  # something was ready to run, and the host ran another machine instead

    @property
    def wanted(self) -> int:
        return self.used + self.stolen

    def __sub__(self, earlier: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.used - earlier.used, self.stolen - earlier.stolen)

    def __add__(self, other: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.used + other.used, self.stolen + other.stolen)


def parse_stat(text: str) -> ProcessorTime | None:
    """Return the sum over all processors from ``/proc/stat`` (see proc(5)); None if it reports no steal."""
    name, *columns = text.partition("\n")[0].split() or [""]
    if name != "cpu" or len(columns) < len(_FIELDS):
        return None
    with suppress(ValueError):
        ticks = dict(zip(_FIELDS, map(int, columns), strict=False))
        used = sum(ticks[field] for field in ("user", "nice", "system", "irq", "softirq"))
        return ProcessorTime(used, ticks["steal"])
    return None
