"""The fixture ``llm_memory``: memory of any process, for assertions of a user."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

from pytest_llm.errors import UsageError
from pytest_llm.machine.memory.anonymous import AnonymousMemory
from pytest_llm.machine.probes import all_devices, anonymous_memory, memory_probe
from pytest_llm.measure.leaks import readings
from pytest_llm.records import Series
from pytest_llm.stats.theil_sen import interval, slopes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_llm.machine.gpu.device import DeviceList
    from pytest_llm.records.device_memory import MemoryReading


@dataclass
class Watched:
    """Memory of a process while it was watched, in bytes; None if unknown.

    Attributes:
        peak: The largest resident set.
        peak_anonymous: Its anonymous part: what was allocated.
        peak_file: Its file-backed part: mapped weights, programs.
        grown: The growth of anonymous memory, swapped or not, from beginning to end.
        peak_vram: The largest memory of the process and its children on all GPUs at one moment; if no driver
            lists it by process, the growth of all memory in use there.
        vram_note: Which of the two ``peak_vram`` is, or why it is None.
    """

    peak: float | None = None
    peak_anonymous: float | None = None
    peak_file: float | None = None
    grown: float | None = None
    peak_vram: float | None = None
    vram_note: str = ""


@dataclass(frozen=True)
class Leak:
    """Memory that is never given back, for each token.

    Attributes:
        bytes_per_token: The median of the slopes between all pairs of readings.
        interval: The 99 % interval of Sen; None with too few readings.
        readings: Bytes, before and after each step.
        note: Whether device memory is included.
    """

    bytes_per_token: float
    interval: tuple[float, float] | None
    readings: tuple[float, ...]
    note: str


class MemoryWatch:
    """Watches this process, or another one by its id."""

    def __init__(self, find: Callable[[], DeviceList] = all_devices) -> None:
        self._find = cache(find)
        self._held = AnonymousMemory()
        self._held_with_devices = anonymous_memory(self._find)

    @contextmanager
    def watch(self, pid: int | None = None) -> Iterator[Watched]:
        """Watch a process until the context ends; what is yielded is filled then.

        The kernel's own peak of that process (VmHWM) starts anew.

        Args:
            pid: Which process; this one, if none is given.
        """
        pid = os.getpid() if pid is None else pid
        watched = Watched()
        before = self._held(pid)
        with memory_probe(self._find).watch(pid) as seen:
            yield watched
        after = self._held(pid)
        peaks = {name: series.values[0] for name, series in seen.items() if series.values}
        watched.peak = peaks.get("peak_ram")
        watched.peak_anonymous = peaks.get("peak_ram_anonymous")
        watched.peak_file = peaks.get("peak_ram_file")
        watched.peak_vram = peaks.get("peak_vram")
        watched.vram_note = seen["peak_vram"].note
        watched.grown = None if before is None or after is None else after.size - before.size

    def held(self, pid: int | None = None) -> float:
        """Return the bytes of anonymous memory, swapped or not, that a process holds now.

        Raises:
            UsageError: There is no such process, or the system does not tell.
        """
        return _read(self._held, pid).size

    def leak(
        self, step: Callable[[], object], tokens: int = 1, steps: int = 32, pid: int | None = None
    ) -> Leak:
        """Repeat a step and return how many bytes each of its tokens leaves behind.

        Two steps come before the first reading: what they allocate is not counted.

        Args:
            step: Does equal work each time, from the same state: generates after the same prompt, say.
            tokens: How many tokens one step generates.
            steps: How often; below 6 there is no interval.
            pid: Whose memory; this process's, if none is given.

        Raises:
            UsageError: ``tokens`` is below 1 or ``steps`` below 2; nothing tells what the process holds; or
                what devices hold for it was read at some readings only.
        """
        if tokens < 1 or steps < 2:
            raise UsageError(f"llm_memory.leak: tokens={tokens}, steps={steps}: give 1 and 2 at least")
        found = list(readings(step, lambda: _read(self._held_with_devices, pid), steps))
        if len({each.note for each in found}) > 1:
            raise UsageError(
                "llm_memory.leak: what devices hold was read at some readings only; do a step before, so "
                "that the process is on its device"
            )
        series = Series(tuple(each.size for each in found), tokens, found[0].note)
        return Leak(median(slopes(series)), interval(series), series.values, series.note)


def _read(held: AnonymousMemory, pid: int | None) -> MemoryReading:
    pid = os.getpid() if pid is None else pid
    found = held(pid)
    if found is None:
        raise UsageError(
            f"llm_memory: nothing tells what process {pid} holds; are it and its device still there?"
        )
    return found
