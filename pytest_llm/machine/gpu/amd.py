"""AMD's devices, through ``amdsmi``, which comes with ROCm and is optional."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_llm.machine.gpu.device import Condition, UnreadableError
from pytest_llm.machine.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

_MICRO = 1e-6


class AmdDevice:
    """A :class:`~pytest_llm.machine.gpu.device.Device`; the module is initialized with ``amdsmi_init``."""

    def __init__(self, library: Any, handle: Any, index: int) -> None:
        self._library = library
        self._handle = handle
        self.name = f"AMD GPU {index}"
        self.total = 0
        with suppress(UnreadableError):
            self.name = f"{self._ask('amdsmi_get_gpu_asic_info')['market_name']}, amdsmi"
        with suppress(UnreadableError):
            self.total = int(self._ask("amdsmi_get_gpu_memory_total", library.AmdSmiMemoryType.VRAM))

    def used(self) -> int:
        return int(self._ask("amdsmi_get_gpu_memory_usage", self._library.AmdSmiMemoryType.VRAM))

    def processes(self) -> dict[int, int | None]:
        found: dict[int, int | None] = {}
        for each in self._ask("amdsmi_get_gpu_process_list"):
            if not isinstance(each, dict):  # releases before 6.1 have handles here
                raise UnreadableError("this release of amdsmi tells no processes")
            size = each.get("memory_usage", {}).get("vram_mem")
            found[int(each["pid"])] = size if isinstance(size, int) else None  # or "N/A"
        return found

    def condition(self) -> Condition:
        power = energy = None
        with suppress(UnreadableError):
            answer = self._ask("amdsmi_get_power_info")
            names = ("socket_power", "current_socket_power", "average_socket_power")
            power = next((float(answer[name]) for name in names if _is_number(answer.get(name))), None)
        with suppress(UnreadableError):
            answer = self._ask("amdsmi_get_energy_count")
            ticks = answer.get("energy_accumulator", answer.get("power"))
            if _is_number(ticks) and _is_number(answer.get("counter_resolution")):
                energy = ticks * answer["counter_resolution"] * _MICRO
        return Condition(power=power, energy=energy)

    def _ask(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self._library, function)(self._handle, *arguments)
        except AttributeError:
            raise UnreadableError(f"this release of amdsmi has no {function}") from None
        except self._library.AmdSmiException as error:
            raise UnreadableError(str(error)) from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def find(
    load: Callable[[], Any] = lambda: importlib.import_module("amdsmi"),
) -> list[AmdDevice] | Unavailable:
    """Return every device, or why there is none; never raises."""
    try:
        library = load()
    except ImportError:
        return Unavailable("amdsmi is not installed")
    except Exception as error:  # it looks for its library while it is imported, and raises what it likes
        return Unavailable(f"amdsmi: {error}")
    try:
        library.amdsmi_init()
        handles = library.amdsmi_get_processor_handles()
    except library.AmdSmiException as error:
        return Unavailable(f"amdsmi: {error}")
    devices = [AmdDevice(library, handle, index) for index, handle in enumerate(handles)]
    return devices or Unavailable("amdsmi finds no device")
