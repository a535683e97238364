"""Noise that the kernel counts: CPU quotas that were used up, and processors that were too hot."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_llm.machine.unavailable import Unavailable
from pytest_llm.system.cgroups import cpu_groups
from pytest_llm.system.procfs import KernelFile, read_word

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

QUOTA = "CPU quota used up"
THERMAL = "CPU thermal throttling"

# How often, and for how long (in version 2 and in version 1): a stop that began before the stretch and
# ended in it moves only the second.
_OF_A_GROUP = ("nr_throttled", "throttled_usec", "throttled_time")
_PROCESSORS = "sys/devices/system/cpu"
# Counter -> what is equal for two processors that share it.
_OF_A_PROCESSOR = {
    "core_throttle_count": "topology/thread_siblings_list",
    "package_throttle_count": "topology/physical_package_id",
}


class MovedCounters:
    """Judges a stretch by counters of the kernel: it is disturbed if one of them moves."""

    def __init__(self, reason: str, files: Iterable[Path], wanted: tuple[str, ...] = ("",)) -> None:
        """Open the files, and compare their lines that begin with one of ``wanted``."""
        self._reason = reason
        self._wanted = wanted
        self._files: list[KernelFile] = []
        for path in files:
            with suppress(OSError):
                self._files.append(KernelFile(path))
        self._files = [file for file in self._files if self._counters(file)]
        self.mark()

    def __bool__(self) -> bool:
        return bool(self._files)

    def mark(self) -> None:
        self._marked = self._read()

    def since_mark(self) -> tuple[str, ...]:
        return (self._reason,) if moved(self._marked, self._read()) else ()

    def _read(self) -> list[str]:
        return [self._counters(file) for file in self._files]

    def _counters(self, file: KernelFile) -> str:
        return "\n".join(line for line in file.read().splitlines() if line.startswith(self._wanted))


def moved(before: list[str], now: list[str]) -> bool:
    """Return whether any counter reads differently now; one that cannot be read has not moved."""
    return any(then and new and then != new for then, new in zip(before, now, strict=True))


def find_quota(root: Path) -> MovedCounters | Unavailable:
    """Return the counters of this process's control group and of those around it."""
    files = (folder / "cpu.stat" for folder in cpu_groups(root))
    counters = MovedCounters(QUOTA, files, _OF_A_GROUP)
    return counters or Unavailable("no control group counts throttling in cpu.stat")


def find_thermal(root: Path, processors: Collection[int] | None = None) -> MovedCounters | Unavailable:
    """Return the counters of thermal events, which AMD and ARM do not have.

    Args:
        root: What stands for ``/``.
        processors: Those that matter; None for those that this process may run on.
    """
    if processors is None and hasattr(os, "sched_getaffinity"):
        processors = os.sched_getaffinity(0)
    counters = MovedCounters(THERMAL, _one_of_each(root, processors))
    return counters or Unavailable(f"no /{_PROCESSORS}/cpu*/thermal_throttle")


def _one_of_each(root: Path, processors: Collection[int] | None) -> list[Path]:
    """Return one file for each counter: that of a package shows at each of its processors."""
    found: dict[tuple[str, str], Path] = {}
    for folder in sorted((root / _PROCESSORS).glob("cpu[0-9]*/thermal_throttle")):
        processor = folder.parent
        if processors is not None and int(processor.name[3:]) not in processors:
            continue
        for name, shared_by in _OF_A_PROCESSOR.items():
            if (folder / name).exists():
                found.setdefault((name, read_word(processor / shared_by) or processor.name), folder / name)
    return list(found.values())
