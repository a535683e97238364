"""Sources of memory readings: the notes of the series ``peak_vram`` and ``anonymous_memory``."""

from __future__ import annotations

from typing import NamedTuple

from pytest_llm.records.run import Series

# The driver's count for the worker and its children.
PER_PROCESS = "per process"
# The increase of used memory since before the load, with no other process on the device.
DEVICE_CHANGE = "change of the device"
# The decrease since before the load of the free memory that ggml reports.
REPORTED_BY_GGML = "change reported by ggml"
# The sum of llama.cpp's device buffers, without the needs of the driver and the backend.
ALLOCATED = "allocated by llama.cpp"

# The ``note`` of the series ``anonymous_memory``: which memory a reading counts.
HOST_ALONE = "host memory alone"
WITH_DEVICES = "host and device memory"


class MemoryReading(NamedTuple):
    """The memory of a process at one moment.

    Attributes:
        size: In bytes.
        note: ``HOST_ALONE`` or ``WITH_DEVICES``.
    """

    size: float
    note: str


class NoDeviceLibrary(Series):
    """The empty series of a machine without a library for device memory, not of one whose library failed."""

    @classmethod
    def because(cls, reason: str) -> NoDeviceLibrary:
        """Return the series with a note that gives the reason."""
        return cls((), note=f"no library reads the memory of devices: {reason}")
