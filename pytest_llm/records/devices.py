"""How the memory of GPUs and the like was read: each is the ``note`` of a series of ``peak_vram``."""

from __future__ import annotations

from pytest_llm.records.runs import Series

# The driver told what the worker and its children hold.
PER_PROCESS = "per process"
# How much more of the device was in use than before the load, with nobody else on it.
DEVICE_CHANGE = "change of the device"
# The sum of the buffers that llama.cpp says it allocated: without the driver's and the backend's own needs.
ALLOCATED = "allocated by llama.cpp"

_UNTOLD = "no library tells the memory of devices: "


def untold(why: str) -> Series:
    """Return an empty series for a machine on which no library tells the memory of devices."""
    return Series((), note=_UNTOLD + why)


def is_untold(series: Series) -> bool:
    """Whether a series is empty since there was nobody to ask, and not since the answer is of no use."""
    return not series.values and series.note.startswith(_UNTOLD)
