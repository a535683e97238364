"""What the fixture ``llm_memory`` tells of devices, from the real pynvml on a library of our own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import UsageError
from pytest_llm.machine.gpu.device import DeviceList
from pytest_llm.machine.memory.fixture import MemoryWatch
from pytest_llm.records.device_memory import DEVICE_CHANGE, HOST_ALONE, PER_PROCESS, WITH_DEVICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.nvml_library import Library, Script

MIB = 2**20


@pytest.fixture
def watch(nvml_library: Callable[..., Library]) -> MemoryWatch:
    return MemoryWatch(nvml_library().found)


def hold(script: Script, mebibytes: int) -> None:
    script.write("devices 1", f"process 0 {os.getpid()} {mebibytes * MIB}")


def test_the_peak_on_a_device_is_the_process_s_own(watch: MemoryWatch, nvml_script: Script) -> None:
    hold(nvml_script, 500)
    with watch.watch() as seen:
        hold(nvml_script, 700)
    assert (seen.peak_vram, seen.vram_note) == (700 * MIB, PER_PROCESS)


def test_what_a_device_had_before_does_not_count_where_processes_are_not_told(
    watch: MemoryWatch, nvml_script: Script
) -> None:
    for before, after in ((900, 1600), (1600, 1700)):
        nvml_script.write("devices 1", f"used 0 {before}")
        with watch.watch() as seen:
            nvml_script.write("devices 1", f"used 0 {after}", f"process 0 {os.getpid()} na")
        assert (seen.peak_vram, seen.vram_note) == (after - before, DEVICE_CHANGE)


def test_without_a_device_there_is_a_reason() -> None:
    with MemoryWatch(lambda: DeviceList((), "no library")).watch() as seen:
        pass
    assert seen.peak_vram is None
    assert "no library" in seen.vram_note
    assert seen.peak is not None


def test_what_a_device_keeps_of_each_token_is_a_leak(watch: MemoryWatch, nvml_script: Script) -> None:
    sizes = iter(range(100, 200))
    leak = watch.leak(lambda: hold(nvml_script, next(sizes)), tokens=4, steps=8)
    assert leak.bytes_per_token == pytest.approx(MIB / 4, rel=0.01)
    assert leak.note == WITH_DEVICES
    assert watch.held() < leak.readings[0] - 100 * MIB


@pytest.mark.parametrize(
    ("first", "told"), [(False, "at some readings only"), (True, "are it and its device still there")]
)
def test_a_leak_is_not_judged_by_a_device_that_tells_now_and_then(
    watch: MemoryWatch, nvml_script: Script, first: bool, told: str
) -> None:
    turns = iter(range(100))

    def step() -> None:
        if (next(turns) < 4) is first:
            hold(nvml_script, 500)
        else:
            nvml_script.write("devices 1")

    with pytest.raises(UsageError, match=told):
        watch.leak(step, steps=4)


def test_a_process_on_no_device_is_read_on_the_host(watch: MemoryWatch, nvml_script: Script) -> None:
    nvml_script.write("devices 1")
    assert watch.leak(lambda: None, steps=6).note == HOST_ALONE
