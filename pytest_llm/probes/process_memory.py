"""The worker's RAM: its peak, and how much of it is anonymous.

Only the split tells the truth about a mapped model: its weights are file-backed pages, which RSS, USS and
PSS count like any other.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_llm.records import Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INTERVAL = 0.01  # seconds


class ProcessMemory:
    """Watches one process; series are ``peak_ram``, ``peak_ram_anonymous`` and ``peak_ram_file``, in bytes.

    Where there is no ``/proc/PID/status``, psutil's resident set is sampled and the other two are left out,
    since nothing there tells them.
    """

    def __init__(self, proc: Path = Path("/proc"), interval: float = _INTERVAL) -> None:
        """Read below ``proc`` every ``interval`` seconds."""
        self._proc = proc
        self._interval = interval

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        """Sample until the context ends; the mapping is filled then."""
        peaks: dict[str, float] = {}
        stop = threading.Event()

        def sample() -> None:
            for name, size in self._read(pid).items():
                peaks[name] = max(size, peaks.get(name, 0))

        def sample_until_stopped() -> None:
            while not stop.wait(self._interval):
                sample()

        with suppress(OSError):  # the kernel's own peak, VmHWM, starts anew
            (self._proc / str(pid) / "clear_refs").write_text("5")
        sample()
        thread = threading.Thread(target=sample_until_stopped, daemon=True)
        thread.start()
        seen: dict[str, Series] = {}
        try:
            yield seen
        finally:
            stop.set()
            thread.join()
            sample()
            seen.update({name: Series((size,)) for name, size in peaks.items()})

    def _read(self, pid: int) -> dict[str, float]:
        status = self._proc / str(pid) / "status"
        if status.exists():
            with suppress(OSError):  # the process may end in between
                return parse_status(status.read_text())
            return {}
        with suppress(psutil.Error):
            return {"peak_ram": psutil.Process(pid).memory_info().rss}
        return {}


def parse_status(text: str) -> dict[str, float]:
    """Return what ``/proc/PID/status`` tells, in bytes: the peak resident set, two parts of the present."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    wanted = {"peak_ram": "VmHWM", "peak_ram_anonymous": "RssAnon", "peak_ram_file": "RssFile"}
    return {
        name: float(fields[field].split()[0]) * 1024
        for name, field in wanted.items()
        if field in fields  # a zombie has none
    }
