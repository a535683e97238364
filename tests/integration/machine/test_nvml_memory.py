"""VRAM as the real pynvml tells it, on a library that answers by a script."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pynvml  # type: ignore[import-untyped]
import pytest

from pytest_llm.machine.gpu.nvml import Nvml, open_nvml
from pytest_llm.machine.memory.rss import ProcessMemory
from pytest_llm.machine.memory.sampler import INTERVAL, Ticker
from pytest_llm.machine.probes import Together
from pytest_llm.records import Series
from pytest_llm.records.device_memory import DEVICE_CHANGE, PER_PROCESS, NoDeviceLibrary
from tests.nvml_library import SONAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.nvml_library import Library, Script

MIB = 2**20
NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED
NO_PERMISSION = pynvml.NVML_ERROR_NO_PERMISSION
LOST = pynvml.NVML_ERROR_GPU_IS_LOST
COMPUTE = "nvmlDeviceGetComputeRunningProcesses"
UNTOLD = [f"error {COMPUTE}_v{version} {NOT_SUPPORTED}" for version in (2, 3)]
A_LOOK = 0.1  # seconds in which there is one, also on a busy machine


def watched(library: Library, script: Script, before: list[str], *then: list[str], pid: int = 0) -> Series:
    """Return the peak that is seen of this process while the library answers one script after another."""
    return seen(library, script, before, *then, pid=pid)["peak_vram"]


def seen(
    library: Library, script: Script, before: list[str], *then: list[str], pid: int = 0
) -> Mapping[str, Series]:
    script.write(*before)
    with library.memory().watch(pid or os.getpid()) as found:
        for lines in then:
            script.write(*lines)
            time.sleep(A_LOOK)
    return found


@pytest.fixture
def script(nvml_script: Script) -> Script:
    return nvml_script


@pytest.fixture
def library(nvml_library: Callable[..., Library]) -> Library:
    return nvml_library()


@pytest.fixture
def ours() -> int:
    """The process that is watched: this one."""
    return os.getpid()


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that is none of the watched one's children, though it is one of ours."""
    code = "import subprocess as s; print(s.Popen(['sleep', '60'], stdout=s.DEVNULL).pid)"
    made = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    pid = int(made.stdout)
    yield pid
    os.kill(pid, 9)


def one(*lines: str) -> list[str]:
    return ["devices 1", *lines]


# --- What the driver tells by process -------------------------------------------------------------------


def test_what_the_process_holds_at_its_peak_is_told(library: Library, script: Script, ours: int) -> None:
    before = one("used 0 900")
    peak = watched(library, script, before, one(f"process 0 {ours} 700"), one(f"process 0 {ours} 300"), one())
    assert peak == Series((700.0,), note=PER_PROCESS)


def test_children_count_and_strangers_do_not(
    library: Library, script: Script, ours: int, stranger: int
) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        told = one(f"process 0 {ours} 700", f"process 0 {child.pid} 50", f"process 0 {stranger} 4000")
        peak = watched(library, script, told, told)
        child.kill()
    assert peak == Series((750.0,), note=PER_PROCESS)


def test_two_devices_are_summed_at_one_moment_and_listed(library: Library, script: Script, ours: int) -> None:
    found = seen(
        library,
        script,
        ["devices 2"],
        ["devices 2", f"process 0 {ours} {3 * MIB}", f"process 1 {ours} {5 * MIB}"],
        ["devices 2", f"process 0 {ours} {6 * MIB}", f"process 1 {ours} {1 * MIB}"],
    )
    assert found["peak_vram"] == Series((8.0 * MIB,), note=PER_PROCESS)
    assert found["gpu_0_vram"] == Series((6.0 * MIB,), note="Stub 0, NVML, 24.0 GiB")
    assert found["gpu_1_vram"] == Series((5.0 * MIB,), note="Stub 1, NVML, 24.0 GiB")


def test_a_process_that_draws_is_seen_and_one_that_does_both_counts_once(
    library: Library, script: Script, ours: int
) -> None:
    assert watched(library, script, one(f"drawing 0 {ours} 70")) == Series((70.0,), note=PER_PROCESS)
    both = one(f"drawing 0 {ours} 70", f"process 0 {ours} 90")
    assert watched(library, script, both) == Series((90.0,), note=PER_PROCESS)


def test_a_spike_of_30_ms_is_caught(library: Library, script: Script, ours: int) -> None:
    steady = f"process 0 {ours} 100"
    for _ in range(5):
        library.longest_gap()
        peak = watched(
            library, script, one(steady), one(steady, "at 40", f"process 0 {ours} 777", "at 70", steady)
        )
        if library.longest_gap() < 0.03:
            break  # else this machine was too busy to look that often: it says nothing
    else:
        pytest.fail("no try in which looks were less than 30 ms apart")
    assert peak == Series((777.0,), note=PER_PROCESS)


# --- What the driver does not tell ----------------------------------------------------------------------


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND])
def test_without_a_list_of_processes_the_change_of_the_device_is_told(
    library: Library, script: Script, code: int
) -> None:
    refused = [f"error {COMPUTE}_v{version} {code}" for version in (2, 3)]
    peak = watched(
        library,
        script,
        one("used 0 900", *refused),
        one("used 0 1600", *refused),
        one("used 0 1000", *refused),
    )
    assert peak == Series((700.0,), note=DEVICE_CHANGE)


def test_bytes_that_are_not_available_make_it_the_change_of_the_device(
    library: Library, script: Script, ours: int
) -> None:
    untold = f"process 0 {ours} na"
    peak = watched(library, script, one("used 0 900"), one("used 0 1600", untold), one("used 0 1000", untold))
    assert peak == Series((700.0,), note=DEVICE_CHANGE)


def test_the_change_counts_from_before_the_load_and_not_from_the_latest_watch(
    library: Library, script: Script, ours: int
) -> None:
    script.write(*one("used 0 900", *UNTOLD))
    probe = library.memory()
    with probe.watch(ours):
        script.write(*one("used 0 1600", *UNTOLD))
    with probe.watch(ours) as found:
        pass
    assert found["peak_vram"] == Series((700.0,), note=DEVICE_CHANGE)


def test_the_change_is_that_of_the_devices_that_the_process_is_on(
    library: Library, script: Script, ours: int
) -> None:
    untold = ["devices 2", f"process 1 {ours} na", "used 0 5000", "used 1 1600"]
    peak = watched(library, script, ["devices 2", "used 0 0", "used 1 900"], untold)
    assert peak == Series((700.0,), note=DEVICE_CHANGE)


def test_a_stranger_on_the_device_makes_its_change_worthless(
    library: Library, script: Script, ours: int, stranger: int
) -> None:
    both = [f"process 0 {ours} na", f"process 0 {stranger} na"]
    for before in (one("used 0 900"), one("used 0 900", f"process 0 {stranger} na")):
        peak = watched(library, script, before, one("used 0 1600", *both))
        assert peak.values == ()
        assert peak.note == (
            f"GPU 0 is used by process {stranger} as well, and does not tell how much each takes"
        )


def test_a_stranger_that_was_there_before_is_one_though_its_id_is_of_outside(
    library: Library, script: Script, ours: int
) -> None:
    outside = 4_000_000
    there = [f"process 0 {outside} na"]
    script.write(*one(*there))
    with library.memory(exists=lambda _: False).watch(ours) as found:
        pass
    assert found["peak_vram"].values == ()


def test_one_id_of_outside_that_came_with_the_load_is_the_worker_s_own_and_two_are_not(
    library: Library, script: Script, ours: int
) -> None:
    for ids, values in (((4_000_000,), (700.0,)), ((4_000_000, 4_000_001), ())):
        script.write(*one("used 0 900"))
        with library.memory(exists=lambda _: False).watch(ours) as found:
            script.write(*one("used 0 1600", *(f"process 0 {each} na" for each in ids)))
            time.sleep(A_LOOK)
        assert found["peak_vram"].values == values


@pytest.mark.parametrize("code", [LOST, NO_PERMISSION])
def test_a_device_that_stops_telling_in_mid_run_has_no_peak(
    library: Library, script: Script, ours: int, code: int
) -> None:
    gone = [f"error {COMPUTE}_v{version} {code}" for version in (2, 3)]
    gone.append(f"error nvmlDeviceGetMemoryInfo {code}")
    peak = watched(library, script, one(f"process 0 {ours} 700"), one(*gone), one(f"process 0 {ours} 700"))
    text = {LOST: "GPU is lost", NO_PERMISSION: "Insufficient Permissions"}[code]
    assert peak == Series((), note=f"GPU 0: {text}")


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_UNKNOWN])
def test_without_a_driver_nothing_is_told_and_the_reason_is(
    library: Library, script: Script, ours: int, code: int
) -> None:
    script.write(f"error nvmlInitWithFlags {code}")
    with library.memory().watch(ours) as found:
        pass
    text = {pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "Driver Not Loaded"}.get(code, "Unknown Error")
    assert isinstance(found["peak_vram"], NoDeviceLibrary)
    assert found["peak_vram"].note.endswith(f": NVML: {text}")


def test_a_machine_without_a_device_tells_nothing(library: Library, script: Script, ours: int) -> None:
    peak = watched(library, script, ["devices 0"])
    assert isinstance(peak, NoDeviceLibrary)


def test_a_library_without_our_newest_functions_tells_by_its_older_ones(
    nvml_library: Callable[..., Library], script: Script, ours: int
) -> None:
    old = nvml_library("OLD")
    assert not hasattr(old.library, f"{COMPUTE}_v3")
    lines = one(f"process 0 {ours} 700", "tell nvmlDeviceGetCurrentClocksThrottleReasons 4")
    found = seen(old, script, lines, lines)
    assert found["peak_vram"] == Series((700.0,), note=PER_PROCESS)
    assert found["gpu_0_clock"].note == "power cap"


def test_a_library_without_our_newest_functions_tells_who_computes(
    nvml_library: Callable[..., Library], script: Script, ours: int
) -> None:
    binding = nvml_library("OLD").binding
    script.write(*one(f"process 0 {ours} 700"))
    found = open_nvml(lambda: binding)
    assert isinstance(found, Nvml)
    assert found.computing(0) == {ours}


# --- How the device stood -------------------------------------------------------------------------------


def test_clocks_what_holds_them_down_temperature_power_and_energy_are_kept(
    library: Library, script: Script, ours: int
) -> None:
    def stands(mhz: int, degrees: int, milliwatts: int, millijoules: int, reasons: int) -> list[str]:
        return one(
            f"process 0 {ours} 700",
            f"tell nvmlDeviceGetClockInfo {mhz}",
            f"tell nvmlDeviceGetTemperature {degrees}",
            f"tell nvmlDeviceGetPowerUsage {milliwatts}",
            f"tell nvmlDeviceGetTotalEnergyConsumption {millijoules}",
            f"tell nvmlDeviceGetCurrentClocksThrottleReasons {reasons}",
        )

    found = seen(library, script, stands(1400, 50, 30_000, 5_000, 1), stands(1900, 70, 90_000, 17_500, 0x44))
    for name, ends, note in (
        ("gpu_0_clock", (1.4e9, 1.9e9), "thermal slowdown (hardware), power cap"),
        ("gpu_0_temperature", (50.0, 70.0), ""),
        ("gpu_0_power", (30.0, 90.0), ""),
    ):
        assert (found[name].values[0], found[name].values[-1], found[name].note) == (*ends, note)
    assert found["energy"] == Series((12.5,))


def test_a_device_that_tells_memory_alone_has_no_more_series(
    library: Library, script: Script, ours: int
) -> None:
    names = ["ClockInfo", "Temperature", "PowerUsage", "TotalEnergyConsumption"]
    refused = [f"error nvmlDeviceGet{name} {NOT_SUPPORTED}" for name in names]
    found = seen(library, script, one(f"process 0 {ours} 700", *refused))
    assert set(found) == {"peak_vram", "gpu_0_vram", "vram_seconds", "vram_bytes"}


# --- As users have it -----------------------------------------------------------------------------------

FOUND_BY_NAME = """
import os, time
from pytest_llm.machine.probes import all_probes
with all_probes().watch(os.getpid()) as seen:
    time.sleep(0.05)
print(seen["peak_vram"])
"""


def test_the_library_is_found_by_its_name_as_a_driver_s_would_be(
    nvml_folder: Callable[[str], Path], script: Script
) -> None:
    script.write("devices 1", "drawing 0 1 5", "process 0 1 7", *UNTOLD, "used 0 9")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(nvml_folder("NEW"))}
    found = subprocess.run(
        [sys.executable, "-c", FOUND_BY_NAME], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    assert f"note='{DEVICE_CHANGE}'" in found.stdout


def test_without_the_library_nothing_is_told(tmp_path: Path, script: Script) -> None:
    (tmp_path / SONAME).write_bytes(b"no library")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", FOUND_BY_NAME], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    assert "NVML Shared Library Not Found" in found.stdout or "Driver" in found.stdout
    assert "values=()" in found.stdout


# --- What it costs --------------------------------------------------------------------------------------


@contextmanager
def cores_at_work() -> Iterator[None]:
    """Keep cores from sleeping, as a worker does: to wake one up costs as much as a look."""
    command = [sys.executable, "-c", "while True: pass"]
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            stack.callback(stack.enter_context(subprocess.Popen(command)).kill)
        yield


@pytest.mark.timed
def test_sampling_ram_and_a_device_costs_less_than_one_percent_of_a_core(
    library: Library, script: Script, ours: int
) -> None:
    script.write(*one(f"process 0 {ours} 700"))
    ticker = Ticker()
    ram = ProcessMemory(ticker=ticker)
    with cores_at_work(), Together(ram.watch, library.memory(ticker=ticker).watch).watch(ours):
        # Neighbours only ever add to what it takes: to time and, by what they leave of caches, to work.
        spent = 1.0
        for _ in range(360):
            started = time.process_time()
            time.sleep(0.5)
            spent = min(spent, (time.process_time() - started) / 0.5)
            if spent < 0.01:
                break
    assert spent < 0.01


def test_a_device_that_tells_by_process_beside_one_that_does_not_is_no_ground_for_a_figure(
    library: Library, script: Script, ours: int
) -> None:
    peak = watched(
        library, script, ["devices 2"], ["devices 2", f"process 0 {ours} 7", f"process 1 {ours} na"]
    )
    assert peak.values == ()
    assert peak.note == "GPU 0 told memory by process, but not all the time or not every device did"


def test_the_interval_is_between_10_and_20_ms() -> None:
    assert 0.010 <= INTERVAL <= 0.020
