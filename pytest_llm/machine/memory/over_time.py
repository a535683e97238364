"""Resident memory over time, for a figure: a few dozen points of each stretch that is watched."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_llm.machine.memory.sampler import Ticker
from pytest_llm.records import Series
from pytest_llm.records.metrics import MEMORY_BYTES, MEMORY_SECONDS
from pytest_llm.system.procfs import KernelFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Reader = Callable[[], float | None]

MOST_POINTS = 64


class MemoryOverTime:
    """A probe of one process: its resident set in bytes, and the clock at each reading."""

    def __init__(
        self,
        ticker: Ticker | None = None,
        proc: Path = Path("/proc"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ticker = ticker or Ticker()
        self._proc = proc
        self._clock = clock

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        seen: dict[str, Series] = {}
        points = Points()
        resident = _reader(self._proc / str(pid), pid)

        def sample() -> None:
            size = resident()
            if size:
                points.add(self._clock(), size)

        sample()
        try:
            with self._ticker.calling(sample):
                yield seen
        finally:
            sample()
            seen.update(points.series(MEMORY_SECONDS, MEMORY_BYTES))


class Points:
    """At most ``MOST_POINTS`` of many readings, evenly spread, and the last one."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, float]] = []
        self._last: tuple[float, float] | None = None
        self._count = 0
        self._every = 1

    def add(self, moment: float, size: float) -> None:
        self._last = moment, size
        if self._count % self._every == 0:
            self._kept.append(self._last)
            if len(self._kept) == MOST_POINTS:
                self._kept = self._kept[::2]
                self._every *= 2
        self._count += 1

    def series(self, seconds: str, sizes: str) -> dict[str, Series]:
        """Return moments and sizes under these names; nothing if nothing was read."""
        if self._last is None:
            return {}
        found = self._kept if self._kept[-1] == self._last else [*self._kept, self._last]
        moments, found_sizes = zip(*found, strict=True)
        return {seconds: Series(moments), sizes: Series(found_sizes)}


def _reader(folder: Path, pid: int) -> Reader:
    with suppress(OSError):
        # An open file stays that of this process, though its id may go to another.
        file, page = KernelFile(folder / "statm"), os.sysconf("SC_PAGE_SIZE")

        def of_proc() -> float | None:
            with suppress(ValueError, IndexError):
                return float(int(file.read().split(None, 2)[1]) * page)
            return None

        return of_proc

    def of_psutil() -> float | None:
        with suppress(psutil.Error):
            return float(psutil.Process(pid).memory_info().rss)
        return None

    return of_psutil
