"""Noise of heat: processors that ran slower because they were too hot."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_llm.machine.unavailable import Unavailable
from pytest_llm.system.procfs import KernelFile, moved, read_word

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_PROCESSORS = "sys/devices/system/cpu"
# What a counter counts for, and what tells two processors that share it.
_COUNTERS = {
    "core_throttle_count": "topology/thread_siblings_list",
    "package_throttle_count": "topology/physical_package_id",
}

REASON = "CPU thermal throttling"


class ThermalThrottling:
    """Judges a stretch by the kernel's counters of thermal events, which AMD and ARM do not have."""

    def __init__(self, counters: list[KernelFile]) -> None:
        self._counters = counters
        self.mark()

    def mark(self) -> None:
        self._marked = self._read()

    def since_mark(self) -> tuple[str, ...]:
        return (REASON,) if moved(self._marked, self._read()) else ()

    def _read(self) -> list[str]:
        return [counter.read() for counter in self._counters]


def find(root: Path, processors: Collection[int] | None = None) -> ThermalThrottling | Unavailable:
    """Return the source for some processors; None means those that this process may run on."""
    if processors is None and hasattr(os, "sched_getaffinity"):
        processors = os.sched_getaffinity(0)
    counters = []
    for path in _one_of_each(root, processors):
        with suppress(OSError):
            counters.append(KernelFile(path))
    return (
        ThermalThrottling(counters) if counters else Unavailable(f"no /{_PROCESSORS}/cpu*/thermal_throttle")
    )


def _one_of_each(root: Path, processors: Collection[int] | None) -> list[Path]:
    """Return one file for each counter: that of a package shows at each of its processors."""
    found: dict[tuple[str, str], Path] = {}
    for folder in sorted((root / _PROCESSORS).glob("cpu[0-9]*/thermal_throttle")):
        processor = folder.parent
        if processors is not None and int(processor.name[3:]) not in processors:
            continue
        for name, shared_by in _COUNTERS.items():
            if (folder / name).exists():
                found.setdefault((name, read_word(processor / shared_by) or processor.name), folder / name)
    return list(found.values())
