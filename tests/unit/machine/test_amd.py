"""AMD's library, stood in for."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llm.machine.gpu import amd
from pytest_llm.machine.gpu.device import Condition, UnreadableError, find_devices
from pytest_llm.machine.gpu.sampler import DeviceMemory
from pytest_llm.machine.unavailable import Unavailable
from pytest_llm.records import Series
from pytest_llm.records.device_memory import DEVICE_CHANGE, PER_PROCESS


class AmdSmiError(Exception):
    """What the library raises for anything that it refuses."""


class Library:
    """As amdsmi 7 is, as far as it is used."""

    AmdSmiException = AmdSmiError
    AmdSmiMemoryType = SimpleNamespace(VRAM=0)

    def __init__(self, used: int = 700, processes: Any = (), **answers: Any) -> None:
        self._used = used
        self._processes = processes
        self._answers = answers

    def amdsmi_init(self) -> None:
        if "init" in self._answers:
            raise AmdSmiError(self._answers["init"])

    def amdsmi_get_processor_handles(self) -> list[str]:
        return self._answers.get("handles", ["a"])  # type: ignore[no-any-return]

    def amdsmi_get_gpu_asic_info(self, handle: str) -> dict[str, str]:
        return {"market_name": "Instinct"}

    def amdsmi_get_gpu_memory_total(self, handle: str, kind: int) -> int:
        return 64 * 2**30

    def amdsmi_get_gpu_memory_usage(self, handle: str, kind: int) -> int:
        return self._used

    def amdsmi_get_gpu_process_list(self, handle: str) -> Any:
        if isinstance(self._processes, Exception):
            raise self._processes
        return self._processes

    def amdsmi_get_power_info(self, handle: str) -> dict[str, object]:
        return {"socket_power": "N/A", "average_socket_power": 90}

    def amdsmi_get_energy_count(self, handle: str) -> dict[str, object]:
        return {"energy_accumulator": 2_000_000, "counter_resolution": 15.5, "timestamp": 1}


def a_process(pid: int, size: object) -> dict[str, object]:
    return {"name": "N/A", "pid": pid, "mem": 1, "memory_usage": {"gtt_mem": 5, "vram_mem": size}}


def the_device(library: Library) -> amd.AmdDevice:
    found = amd.find(lambda: library)
    assert not isinstance(found, Unavailable)
    return found[0]


@pytest.mark.parametrize(("size", "note", "peak"), [(600, PER_PROCESS, 600.0), ("N/A", DEVICE_CHANGE, 0.0)])
def test_vram_of_a_process_is_told_and_else_the_change_of_the_device(
    size: object, note: str, peak: float
) -> None:
    library = Library(processes=[a_process(os.getpid(), size)])
    with DeviceMemory(find_devices([lambda: amd.find(lambda: library)])).watch(os.getpid()) as seen:
        pass
    assert seen["peak_vram"] == Series((peak,), note=note)
    if peak:
        assert seen["gpu_0_vram"].note == "Instinct, amdsmi, 64.0 GiB"


def test_power_and_energy_are_told_in_watts_and_joules() -> None:
    assert the_device(Library()).condition() == Condition(power=90.0, energy=31.0)


@pytest.mark.parametrize("processes", [AmdSmiError("no"), ["a handle of an old release"]])
def test_processes_that_are_not_told_are_unreadable(processes: object) -> None:
    with pytest.raises(UnreadableError):
        the_device(Library(processes=processes)).processes()


def test_a_function_that_a_release_lacks_is_unreadable() -> None:
    class Older(Library):
        amdsmi_get_gpu_memory_usage = property()

    with pytest.raises(UnreadableError, match="amdsmi_get_gpu_memory_usage"):
        the_device(Older()).used()


def refuse(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ImportError("no module"), "amdsmi is not installed"),
        (KeyError("libamd_smi.so"), "amdsmi: 'libamd_smi.so'"),
    ],
)
def test_without_the_library_it_is_absent(error: Exception, why: str) -> None:
    assert amd.find(lambda: refuse(error)) == Unavailable(why)


def test_without_driver_or_device_it_is_absent() -> None:
    assert amd.find(lambda: Library(init="no driver")) == Unavailable("amdsmi: no driver")
    assert amd.find(lambda: Library(handles=[])) == Unavailable("amdsmi finds no device")
