"""Trees of files as a kernel would show them, and a library as NVIDIA's binding is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Tree:
    """What stands for ``/``."""

    root: Path

    def write(self, path: str, text: object) -> None:
        """Make or change a file; who has it open reads the new text."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="utf-8")

    def stat(self, used: int, stolen: int = 0, idle: int = 0) -> None:
        """Write ``/proc/stat``: ticks since the machine started."""
        self.write("proc/stat", f"cpu  {used} 0 0 {idle} 0 0 0 {stolen} 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0")

    def throttled(self, processor: int, kind: str, count: int) -> None:
        """Write one counter of thermal events."""
        self.write(f"{CPU}/cpu{processor}/thermal_throttle/{kind}_throttle_count", count)

    def groups(self, memberships: str, mounts: str) -> None:
        """Write which control groups this process is in, and where they are seen."""
        self.write("proc/self/cgroup", memberships)
        self.write("proc/self/mountinfo", mounts)


CPU = "sys/devices/system/cpu"
VERSION_2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"


class NVMLError(Exception):
    """What the binding raises for anything that the library refuses."""


class Process(NamedTuple):
    """One entry of a device's list."""

    pid: int


@dataclass
class Library:
    """Stands in for pynvml: reasons and processes by device."""

    reasons: list[int] = field(default_factory=lambda: [0])
    processes: list[list[int]] = field(default_factory=lambda: [[]])
    init_error: str = ""
    refuses: bool = False
    NVMLError: type[Exception] = NVMLError

    def nvmlInit(self) -> None:  # noqa: N802
        if self.init_error:
            raise NVMLError(self.init_error)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.reasons)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"device {index}"

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:  # noqa: N802
        self._check()
        return self.reasons[_index(handle)]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Process]:  # noqa: N802
        self._check()
        return [Process(pid) for pid in self.processes[_index(handle)]]

    def _check(self) -> None:
        if self.refuses:
            raise NVMLError("GPU is lost")


def _index(handle: str) -> int:
    return int(handle.removeprefix("device "))
