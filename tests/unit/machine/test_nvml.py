"""NVIDIA's library, stood in for; and that the stand-in asks for what the real binding has."""

from __future__ import annotations

import pynvml  # type: ignore[import-untyped]
import pytest

from pytest_llm.machine.gpu import nvml
from pytest_llm.machine.gpu.nvml import LASTING_LIMITS, SLOWDOWNS, Nvml, open_nvml, words
from pytest_llm.machine.noise import nvidia
from pytest_llm.machine.unavailable import Unavailable

from .things import Library, NVMLError

OURS = [70, 71]


def devices(library: Library) -> nvidia.BusyDevices:
    source = nvidia.find(lambda: OURS, open_nvml(lambda: library))
    assert isinstance(source, nvidia.BusyDevices)
    return source


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (0x00, []),
        (0x01, []),
        (0x02, []),
        (0x04, []),
        (0x08, ["hardware slowdown"]),
        (0x10, []),
        (0x20, ["thermal slowdown (driver)"]),
        (0x48, ["hardware slowdown", "thermal slowdown (hardware)"]),
        (0x80, ["power brake"]),
        (0x100, []),
    ],
)
def test_a_device_that_slowed_down_is_a_reason_and_one_that_works_as_usual_is_not(
    reasons: int, told: list[str]
) -> None:
    library = Library(processes=[OURS])
    source = devices(library)
    library.reasons = [reasons]
    assert source.since_mark() == tuple(f"GPU 0: {name}" for name in told)


def test_a_slowdown_that_ended_before_the_round_did_still_disturbed_it() -> None:
    library = Library(processes=[OURS], reasons=[0x40])
    source = devices(library)
    library.reasons = [0]
    assert source.since_mark() == ("GPU 0: thermal slowdown (hardware)",)
    source.mark()
    assert source.since_mark() == ()


def test_a_device_that_none_of_ours_computes_on_is_no_reason() -> None:
    library = Library(reasons=[0x40, 0], processes=[[999], [70]])
    assert devices(library).since_mark() == ()


@pytest.mark.parametrize(
    ("before", "after", "is_reason"),
    [
        ([70], [70, 999], True),
        ([70, 999], [70], True),
        ([70, 71], [71], False),
        ([], [70], False),
    ],
)
def test_another_process_beside_ours_is_a_reason(
    before: list[int], after: list[int], is_reason: bool
) -> None:
    library = Library(reasons=[0, 0], processes=[[], before])
    source = devices(library)
    library.processes[1] = after
    assert source.since_mark() == (("GPU 1: another process computes on it",) if is_reason else ())


def test_a_device_that_is_lost_meanwhile_is_no_reason() -> None:
    library = Library(processes=[OURS])
    source = devices(library)
    library.refuses = True
    assert source.since_mark() == ()


def test_our_processes_are_those_of_the_moment() -> None:
    ours: list[int] = []
    library = Library(processes=[[70]])
    source = nvidia.find(lambda: ours, open_nvml(lambda: library))
    assert isinstance(source, nvidia.BusyDevices)
    ours.append(5)
    library.processes = [[5, 70]]
    assert source.since_mark() == ("GPU 0: another process computes on it",)
    ours.append(70)
    assert source.since_mark() == ()


def no_module() -> object:
    raise ImportError("No module named 'pynvml'")


def test_without_the_binding_the_library_is_absent() -> None:
    assert open_nvml(no_module) == Unavailable("pynvml is not installed")


@pytest.mark.parametrize("error", ["NVML Shared Library Not Found", "Driver Not Loaded"])
def test_without_library_or_driver_it_is_absent(error: str) -> None:
    assert open_nvml(lambda: Library(init_error=error)) == Unavailable(f"NVML: {error}")


def test_without_a_device_it_is_absent() -> None:
    assert open_nvml(lambda: Library(reasons=[])) == Unavailable("NVML finds no device")


def test_an_absent_library_is_an_absent_source() -> None:
    assert nvidia.find(lambda: OURS, Unavailable("NVML: none")) == Unavailable("NVML: none")


class OldDriver(Library):
    """Knows the reasons by their first name only."""

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:  # noqa: N802
        raise NVMLError("Function Not Found")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        return self.reasons[0]


def test_a_driver_that_knows_only_the_old_name_is_asked_by_it() -> None:
    assert Nvml(OldDriver(reasons=[0x20])).clock_reasons(0) == 0x20


def test_a_binding_that_knows_neither_name_has_no_reasons() -> None:
    library = Library(reasons=[0x20], refuses=True)
    assert Nvml(library).clock_reasons(0) == 0
    assert Nvml(library).computing(0) == frozenset()


def test_the_real_binding_has_all_that_is_asked_of_it() -> None:
    asked = {name for name in vars(Library) if name.startswith("nvml")} | {"NVMLError"}
    assert len(asked) == 6
    missing = [name for name in asked if not hasattr(pynvml, name)]
    assert missing in ([], ["nvmlDeviceGetCurrentClocksEventReasons"])  # older ones have the other name
    assert not missing or hasattr(pynvml, "nvmlDeviceGetCurrentClocksThrottleReasons")


def test_the_bits_are_those_of_the_real_binding() -> None:
    names = ["HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown"]
    assert list(SLOWDOWNS) == [getattr(pynvml, f"nvmlClocksThrottleReason{name}") for name in names]
    names = ["SwPowerCap", "SyncBoost", "DisplayClockSetting"]
    assert list(LASTING_LIMITS) == [getattr(pynvml, f"nvmlClocksThrottleReason{name}") for name in names]


def test_the_real_binding_is_opened_or_absent_but_never_raises() -> None:
    found = open_nvml()
    assert isinstance(found, Unavailable) or found.devices
    assert nvml.words(0x0C, LASTING_LIMITS) == words(0x04, LASTING_LIMITS) == ("power cap",)
