"""Probes: what is read of a process beside the clock. One class for each, and one line in ``PROBES``."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pytest_llm.machine.gpu import amd, nvidia
from pytest_llm.machine.gpu.device import find_devices
from pytest_llm.machine.gpu.sampler import DeviceMemory, MemoryOnDevices
from pytest_llm.machine.memory.anonymous import AnonymousMemory
from pytest_llm.machine.memory.rss import ProcessMemory
from pytest_llm.machine.memory.sampler import Ticker
from pytest_llm.system.registry import Registry, load_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pytest_llm.machine.gpu.device import Device, DeviceList
    from pytest_llm.machine.unavailable import Unavailable
    from pytest_llm.records import Series

    Watch = Callable[[int], AbstractContextManager[Mapping[str, Series]]]

# One line for each vendor whose library tells the memory of devices.
VENDORS: tuple[Callable[[], Sequence[Device] | Unavailable], ...] = (nvidia.find, amd.find)

# Name -> "module:factory". A factory takes the :class:`Ticker` that all probes share, and returns a
# :class:`~pytest_llm.records.protocols.Probe`.
PROBES: Registry[str] = Registry(
    "probe",
    {
        "process memory": "pytest_llm.machine.memory.rss:ProcessMemory",
        "memory over time": "pytest_llm.machine.memory.over_time:MemoryOverTime",
        "device memory": "pytest_llm.machine.probes:device_memory",
    },
)


class Together:
    """Several probes as one."""

    def __init__(self, *watches: Watch) -> None:
        self._watches = watches

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        seen: dict[str, Series] = {}
        watched: list[Mapping[str, Series]] = []
        try:
            with ExitStack() as stack:
                watched += [stack.enter_context(watch(pid)) for watch in self._watches]
                yield seen
        finally:
            for each in watched:
                seen.update(each)


def all_devices() -> DeviceList:
    """Return the devices of all vendors."""
    return find_devices(VENDORS)


def device_memory(ticker: Ticker) -> DeviceMemory:
    """Return the probe of all devices of this machine."""
    return DeviceMemory(all_devices(), ticker)


def all_probes() -> Together:
    """Return every registered probe as one."""
    ticker = Ticker()
    return Together(*(load_code(code)(ticker).watch for code in PROBES.values()))


def memory_probe(find: Callable[[], DeviceList]) -> Together:
    """Return the probe of RAM and of the memory of some devices."""
    ticker = Ticker()
    return Together(ProcessMemory(ticker).watch, DeviceMemory(find(), ticker).watch)


def anonymous_memory(find: Callable[[], DeviceList] = all_devices) -> AnonymousMemory:
    """Return the reader of anonymous and device memory."""
    return AnonymousMemory(devices=MemoryOnDevices(find))
