"""NVIDIA's devices: memory by process if the driver lists it, and conditions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_llm.machine.gpu.device import Condition, UnreadableError
from pytest_llm.machine.gpu.nvml import COMPUTING, LASTING_LIMITS, SLOWDOWNS, Nvml, open_nvml, words
from pytest_llm.machine.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

# Values of nvml.h.
_SM_CLOCK = 1
_GPU_SENSOR = 0

_DRAWING = "nvmlDeviceGetGraphicsRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses_v2"
# Each question costs some 40 µs of a processor that slept before; while nobody draws, few ask for that.
_DRAWING_EVERY = 8


class NvmlDevice:
    """A :class:`~pytest_llm.machine.gpu.device.Device`."""

    def __init__(self, nvml: Nvml, index: int) -> None:
        self._nvml = nvml
        self._index = index
        self._asked = 0
        self._drawing: list[Any] = []
        self.name = f"NVIDIA GPU {index}"
        self.total = 0
        with suppress(UnreadableError):
            name = self._ask("nvmlDeviceGetName")  # bytes in older bindings
            self.name = f"{name.decode() if isinstance(name, bytes) else name}, NVML"
        with suppress(UnreadableError):
            self.total = int(self._ask("nvmlDeviceGetMemoryInfo").total)

    def used(self) -> int:
        return int(self._ask("nvmlDeviceGetMemoryInfo").used)

    def processes(self) -> dict[int, int | None]:
        """Return the processes that compute or draw; one that does both counts once."""
        computing = self._ask(*COMPUTING)
        if self._drawing or self._asked % _DRAWING_EVERY == 0:
            with suppress(UnreadableError):  # what computes through Vulkan is there, and desktops are
                self._drawing = self._ask(*_DRAWING)
        self._asked += 1
        found: dict[int, int | None] = {}
        for each in (*computing, *self._drawing):
            before, now = found.get(each.pid), each.usedGpuMemory
            found[each.pid] = now if before is None else max(before, now or 0)
        return found

    def condition(self) -> Condition:
        reasons = self._nvml.clock_reasons(self._index)
        return Condition(
            self._number(1e6, "nvmlDeviceGetClockInfo", _SM_CLOCK),
            self._number(1, "nvmlDeviceGetTemperature", _GPU_SENSOR),
            self._number(1e-3, "nvmlDeviceGetPowerUsage"),
            self._number(1e-3, "nvmlDeviceGetTotalEnergyConsumption"),
            words(reasons, {**SLOWDOWNS, **LASTING_LIMITS}),
        )

    def _ask(self, *functions: str) -> Any:
        return self._nvml.ask(self._index, functions)

    def _number(self, scale: float, function: str, *arguments: int) -> float | None:
        with suppress(UnreadableError):
            return float(self._nvml.ask(self._index, (function,), *arguments)) * scale
        return None


def find(nvml: Callable[[], Nvml | Unavailable] = open_nvml) -> list[NvmlDevice] | Unavailable:
    """Return every device, or why there is none."""
    library = nvml()
    if isinstance(library, Unavailable):
        return library
    return [NvmlDevice(library, index) for index in library.devices]
