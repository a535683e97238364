"""How memory was read: the notes of the series ``peak_vram`` and ``anonymous_memory``."""

from __future__ import annotations

from typing import NamedTuple

from pytest_llm.records.run import Series

# The driver told what the worker and its children hold.
PER_PROCESS = "per process"
# How much more of the device was in use than before the load, with nobody else on it.
DEVICE_CHANGE = "change of the device"
# How much less of the devices ggml says is free than before the load.
REPORTED_BY_GGML = "change reported by ggml"
# The sum of the buffers that llama.cpp says it allocated: without the driver's and the backend's own needs.
ALLOCATED = "allocated by llama.cpp"

# What a reading of a leak is of, the ``note`` of the series ``anonymous_memory``.
HOST_ALONE = "host memory alone"
WITH_DEVICES = "host and device memory"

_UNTOLD = "no library tells the memory of devices: "


class MemoryReading(NamedTuple):
    """What a process holds on to at one moment.

    Attributes:
        size: In bytes.
        note: Of what: ``HOST_ALONE`` or ``WITH_DEVICES``.
    """

    size: float
    note: str


def untold(why: str) -> Series:
    """Return an empty series for a machine on which no library tells the memory of devices."""
    return Series((), note=_UNTOLD + why)


def is_untold(series: Series) -> bool:
    """Whether a series is empty since there was nobody to ask, and not since the answer is of no use."""
    return not series.values and series.note.startswith(_UNTOLD)
