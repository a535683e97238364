"""Resident memory: its peak, and its anonymous part.

The weights of a mapped model are file-backed pages, which RSS, USS and PSS include.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from pytest_llm.machine.memory.sampler import Ticker
from pytest_llm.records import Series
from pytest_llm.system.procfs import sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LARGER_THAN_STATUS = 1 << 14
_LARGER_THAN_STATM = 1 << 8
_FIELDS = ("VmHWM", "RssAnon", "RssFile", "RssShmem")


class ProcessMemory:
    """A probe of one process: ``peak_ram``, ``peak_ram_anonymous`` and ``peak_ram_file``, in bytes.

    Without ``/proc/PID/status``, psutil's resident set is sampled and the other two are left out.
    """

    def __init__(self, ticker: Ticker | None = None, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._ticker = ticker or Ticker()

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        folder = self._proc / str(pid)
        seen: dict[str, Series] = {}
        with suppress(OSError):  # the kernel's own peak, VmHWM, starts anew
            (folder / "clear_refs").write_text("5")
        with ExitStack() as files:
            peaks = _peaks(folder, pid, files)
            peaks.read()
            try:
                with self._ticker.calling(peaks.sample):
                    yield seen
            finally:
                peaks.read()
                seen.update({name: Series((size,)) for name, size in peaks.found().items()})


class _Peaks(Protocol):
    def read(self) -> None:
        """Read everything, at the beginning and at the end."""

    def sample(self) -> None:
        """Read cheaply what cannot be read at the end."""

    def found(self) -> dict[str, float]:
        """Return the peaks by series; nothing of a process that has ended."""


class _PeaksOfProc:
    """Reads ``status`` at the beginning and at the end, and ``statm`` in between.

    ``statm`` is seven numbers, ``status`` some sixty lines. ``statm`` adds pages of files and shared pages
    up, so the shared pages of the beginning or the end are subtracted.
    """

    def __init__(self, status: int, statm: int) -> None:
        self._status = status
        self._statm = statm
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._most = dict.fromkeys(_FIELDS, 0.0)
        self._resident = self._anonymous = self._mapped = 0

    def read(self) -> None:
        with suppress(OSError):  # the process may end in between
            text = os.pread(self._status, _LARGER_THAN_STATUS, 0).decode(errors="replace")
            self._most |= {
                field: max(size, self._most[field]) for field, size in sizes(text, _FIELDS).items()
            }

    def sample(self) -> None:
        with suppress(OSError, ValueError, IndexError):
            numbers = os.pread(self._statm, _LARGER_THAN_STATM, 0).split(None, 3)
            resident, mapped = int(numbers[1]), int(numbers[2])
            self._resident = max(resident, self._resident)
            self._anonymous = max(resident - mapped, self._anonymous)
            self._mapped = max(mapped, self._mapped)

    def found(self) -> dict[str, float]:
        most = self._most
        found = {
            "peak_ram": max(most["VmHWM"], self._resident * self._page),
            "peak_ram_anonymous": max(most["RssAnon"], self._anonymous * self._page),
            "peak_ram_file": max(most["RssFile"], self._mapped * self._page - most["RssShmem"]),
        }
        return {name: float(size) for name, size in found.items()} if found["peak_ram"] else {}


class _PeaksOfPsutil:
    def __init__(self, pid: int) -> None:
        self._process: psutil.Process | None = None
        self._most = 0.0
        with suppress(psutil.Error):
            self._process = psutil.Process(pid)

    def read(self) -> None:
        with suppress(psutil.Error):
            if self._process is not None:
                self._most = max(float(self._process.memory_info().rss), self._most)

    sample = read

    def found(self) -> dict[str, float]:
        return {"peak_ram": self._most} if self._most else {}


def _peaks(folder: Path, pid: int, files: ExitStack) -> _Peaks:
    # Open files stay those of this process, though its id may go to another.
    with suppress(OSError):
        status = files.enter_context((folder / "status").open("rb", buffering=0))
        statm = files.enter_context((folder / "statm").open("rb", buffering=0))
        return _PeaksOfProc(status.fileno(), statm.fileno())
    return _PeaksOfPsutil(pid)
