"""Readings of a leak on devices, as the real pynvml tells them of a library that answers by a script."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import pynvml  # type: ignore[import-untyped]
import pytest

from pytest_llm.machine.gpu import nvidia
from pytest_llm.machine.gpu.device import find_devices
from pytest_llm.machine.gpu.nvml import open_nvml
from pytest_llm.machine.gpu.sampler import MemoryOnDevices
from pytest_llm.machine.memory.anonymous import AnonymousMemory
from pytest_llm.records import Series
from pytest_llm.records.device_memory import HOST_ALONE, WITH_DEVICES, MemoryReading
from pytest_llm.stats.theil_sen import slopes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.nvml_library import Library, Script

OURS = os.getpid()
HOST = 65 * 2**20
COMPUTE = "nvmlDeviceGetComputeRunningProcesses"


def refused(code: int) -> list[str]:
    return [f"error {COMPUTE}_v{version} {code}" for version in (2, 3)]


@pytest.fixture
def script(nvml_script: Script) -> Script:
    return nvml_script


@pytest.fixture
def held(nvml_library: Callable[..., Library], script: Script, tmp_path: Path) -> AnonymousMemory:
    """Reads this process, whose anonymous memory stays as it is, on the devices of the library."""
    folder = tmp_path / "proc" / str(OURS)
    folder.mkdir(parents=True)
    (folder / "smaps_rollup").write_text(f"Anonymous: {HOST // 1024} kB\n")
    binding = nvml_library().binding
    find = partial(nvidia.find, lambda: open_nvml(lambda: binding))
    return AnonymousMemory(tmp_path / "proc", MemoryOnDevices(lambda: find_devices([find])))


def test_device_memory_that_grows_with_each_reading_gives_its_slope(
    held: AnonymousMemory, script: Script
) -> None:
    readings = []
    for step in range(9):
        script.write("devices 2", f"process 0 {OURS} {2**30 + 3000 * step}", f"process 1 {OURS} {10**9}")
        readings.append(held(OURS))
    told = [each for each in readings if each is not None]
    assert {each.note for each in told} == {WITH_DEVICES}
    assert told[0].size == HOST + 2**30 + 10**9
    assert median(slopes(Series(tuple(each.size for each in told), tokens=16))) == 3000 / 16


def test_children_count_and_others_do_not(held: AnonymousMemory, script: Script) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        script.write("devices 1", f"process 0 {OURS} 70", f"drawing 0 {child.pid} 5", "process 0 1 4000")
        found = held(OURS)
        child.kill()
    assert found == MemoryReading(HOST + 75, WITH_DEVICES)


@pytest.mark.parametrize(
    "lines",
    [
        [f"process 0 {OURS} na"],
        [f"process 0 {OURS} na", f"process 1 {OURS} 70"],
        ["process 0 1 4000"],
        refused(pynvml.NVML_ERROR_NOT_SUPPORTED),
        ["error nvmlInitWithFlags 9"],
    ],
    ids=["not available", "not everywhere", "not on it", "no list", "no driver"],
)
def test_where_it_is_not_told_by_process_the_host_s_memory_is_all(
    lines: list[str], held: AnonymousMemory, script: Script
) -> None:
    script.write("devices 2", "used 0 5000", *lines)
    assert held(OURS) == MemoryReading(HOST, HOST_ALONE)


def test_a_device_that_is_lost_in_mid_run_leaves_no_reading_behind(
    held: AnonymousMemory, script: Script
) -> None:
    there = ["devices 1", f"process 0 {OURS} {2**30}"]
    script.write(*there)
    assert held(OURS) == MemoryReading(HOST + 2**30, WITH_DEVICES)
    for lines in (refused(pynvml.NVML_ERROR_GPU_IS_LOST), ["process 0 1 5"], [f"process 0 {OURS} na"]):
        script.write("devices 1", *lines)
        assert held(OURS) is None
    script.write(*there)
    assert held(OURS) == MemoryReading(HOST + 2**30, WITH_DEVICES)


def test_no_library_is_opened_before_something_is_read() -> None:
    def find() -> None:
        raise AssertionError("it was opened")

    AnonymousMemory(devices=MemoryOnDevices(find))  # type: ignore[arg-type]
