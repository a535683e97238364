"""NVIDIA's management library, NVML; the only module that imports ``pynvml``."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_llm.machine.gpu.device import UnreadableError
from pytest_llm.machine.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Bits of ``nvmlDeviceGetCurrentClocksEventReasons``, in nvml.h. These come and go, and slow a device down
# by much: what ran meanwhile does not count.
SLOWDOWNS = {
    0x08: "hardware slowdown",
    0x20: "thermal slowdown (driver)",
    0x40: "thermal slowdown (hardware)",
    0x80: "power brake",
}
# These are how a device works for as long as it is busy, or is set up: the power cap holds on most devices
# whenever they have enough to do. To drop what ran under them would be to drop everything.
LASTING_LIMITS = {
    0x04: "power cap",
    0x10: "sync boost",
    0x100: "display clock setting",
}

# Newest first: a library older than the binding lacks the first.
COMPUTING = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetComputeRunningProcesses_v2")


class Nvml:
    """All devices, by index; takes the module after ``nvmlInit``."""

    def __init__(self, library: Any) -> None:
        self._library = library
        # Where the library is older than the binding, the binding may raise an error of another family.
        self._errors = (library.NVMLError, getattr(library, "NVMLLibraryMismatchError", library.NVMLError))
        self._handles = [
            library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())
        ]

    @property
    def devices(self) -> range:
        return range(len(self._handles))

    def clock_reasons(self, device: int) -> int:
        """Return why the clocks are not higher now, as NVML's bits; 0 if unknown."""
        # Drivers before 535 and bindings of their time know the second name only; the first is the future's.
        names = "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"
        with suppress(UnreadableError):
            return int(self.ask(device, names))
        return 0

    def computing(self, device: int) -> frozenset[int]:
        """Return the ids of processes that compute on the device, without those that only draw."""
        with suppress(UnreadableError):
            return frozenset(process.pid for process in self.ask(device, COMPUTING))
        return frozenset()

    def ask(self, device: int, functions: Sequence[str], *arguments: object) -> Any:
        """Return the answer of the first function that a device supports.

        Args:
            device: Its index.
            functions: Newest first; functions that the binding or the library lacks are skipped.
            arguments: Further arguments, after the device.

        Raises:
            UnreadableError: No function answers; the text is the first error.
        """
        troubles = []
        for name in functions:
            try:
                return getattr(self._library, name)(self._handles[device], *arguments)
            except AttributeError:
                troubles.append(f"this binding has no {name}")
            except self._errors as error:
                troubles.append(str(error))
        raise UnreadableError(troubles[0])


def open_nvml(load: Callable[[], Any] = lambda: importlib.import_module("pynvml")) -> Nvml | Unavailable:
    """Return the library with at least one device, or why there is none; never raises."""
    try:
        library = load()
    except ImportError:
        return Unavailable("pynvml is not installed")
    try:
        library.nvmlInit()
        nvml = Nvml(library)
    except library.NVMLError as error:
        return Unavailable(f"NVML: {error}")
    return nvml if nvml.devices else Unavailable("NVML finds no device")


def words(reasons: int, names: dict[int, str]) -> tuple[str, ...]:
    """Return the names of the bits that are set."""
    return tuple(name for bit, name in names.items() if reasons & bit)
