"""What a session shows of memory: peaks that can be believed, and how devices stood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.measure.memory import allocated, believed, beside_another, memory_series
from pytest_llm.records import Series, Workload
from pytest_llm.records.device_memory import (
    ALLOCATED,
    DEVICE_CHANGE,
    PER_PROCESS,
    REPORTED_BY_GGML,
    NoDeviceLibrary,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import JSON

MIB = 2**20
CHAT = Workload(prompt_tokens=100, generate_tokens=20, parallel=2)
# Of SmolLM2 on lavapipe, and on the CPU alone.
ON_VULKAN: Mapping[str, JSON] = {
    "buffers_mib": {
        "CPU_Mapped model": 28.69,
        "Vulkan0 model": 92.10,
        "Vulkan0 KV": 11.25,
        "Vulkan0 compute": 11.76,
        "Vulkan_Host output": 0.19,
        "CUDA_Host compute": 3.0,
    }
}
ON_CPU: Mapping[str, JSON] = {"buffers_mib": {"CPU model": 92.1, "CPU_REPACK model": 60.2, "AMX model": 1.0}}
STRANGER = Series((), note="GPU 0 is used by process 9 as well")


def peak(size: float, note: str = PER_PROCESS) -> Series:
    return Series((size,), note=note)


def test_a_peak_is_the_larger_of_loading_and_working() -> None:
    at_load = {"peak_vram": peak(300), "peak_ram": Series((5.0,))}
    at_work = {"peak_vram": peak(500), "peak_ram": Series((4.0,))}
    assert memory_series(at_load, at_work, CHAT, {}, {}) == {
        "peak_vram": peak(500),
        "peak_ram": Series((5.0,)),
    }


def test_a_peak_that_one_half_could_not_tell_is_none() -> None:
    for halves in ((STRANGER, peak(500)), (peak(500), STRANGER)):
        found = memory_series({"peak_vram": halves[0]}, {"peak_vram": halves[1]}, CHAT, {}, {})
        assert found["peak_vram"] == STRANGER


def test_of_two_ways_the_weaker_one_is_named() -> None:
    found = memory_series({"peak_vram": peak(3, DEVICE_CHANGE)}, {"peak_vram": peak(2)}, CHAT, {}, {})
    assert found["peak_vram"] == peak(3, DEVICE_CHANGE)


def test_devices_keep_their_peaks_and_how_they_stood_from_load_to_work() -> None:
    at_load = {
        "gpu_0_vram": Series((7.0,), note="A"),
        "gpu_0_clock": Series((1.0, 2.0), note="power cap"),
        "energy": Series((100.0,)),
    }
    at_work = {
        "gpu_0_vram": Series((9.0,), note="A"),
        "gpu_0_clock": Series((3.0,), note="power brake"),
        "gpu_1_vram": Series((4.0,), note="B"),
        "energy": Series((480.0,)),
    }
    assert memory_series(at_load, at_work, CHAT, {}, {}) == {
        "gpu_0_vram": Series((9.0,), note="A"),
        "gpu_0_clock": Series((1.0, 2.0, 3.0), note="power cap, power brake"),
        "gpu_1_vram": Series((4.0,), note="B"),
        "energy_per_token": Series((480 / 240,)),
    }


def test_filling_the_context_to_a_depth_is_no_part_of_the_energy_of_a_request() -> None:
    deep = Workload(prompt_tokens=100, generate_tokens=20, depth=50)
    found = memory_series({}, {"energy": Series((480.0,))}, deep, {}, {})
    assert found == {"energy_per_token": Series((480 / 120,))}


# --- llama.cpp's own word -------------------------------------------------------------------------------


def test_buffers_count_by_device_and_those_in_the_machine_s_own_memory_do_not() -> None:
    found = allocated(ON_VULKAN)
    assert found is not None
    assert list(found) == ["Vulkan0"]
    assert found["Vulkan0"] == pytest.approx((92.10 + 11.25 + 11.76) * MIB)
    assert allocated(ON_CPU) == {}
    assert allocated({}) is allocated({"buffers_mib": {}}) is None


def test_what_llama_cpp_allocated_on_several_devices_is_summed_and_listed() -> None:
    buffers: Mapping[str, JSON] = {"buffers_mib": {"SYCL0 model": 2.0, "SYCL1 model": 3.0, "SYCL1 KV": 1.0}}
    seen = {"peak_vram": NoDeviceLibrary.because("none")}
    assert memory_series(seen, seen, CHAT, buffers, {}) == {
        "peak_vram": Series((6.0 * MIB,), note=ALLOCATED),
        "gpu_SYCL0_vram": Series((2.0 * MIB,)),
        "gpu_SYCL1_vram": Series((4.0 * MIB,)),
    }


def test_without_a_library_the_buffers_are_told_as_such() -> None:
    assert believed(NoDeviceLibrary.because("NVML: Driver Not Loaded"), 115.0, 0) == peak(115, ALLOCATED)


def test_a_driver_that_sees_less_than_was_allocated_is_not_that_of_the_device() -> None:
    assert believed(peak(0, DEVICE_CHANGE), 100, 0) == peak(100, ALLOCATED)
    assert believed(peak(89), 100, 0) == peak(100, ALLOCATED)
    assert believed(peak(91), 100, 0) == peak(91)


def test_a_figure_that_was_refused_stays_refused_whatever_was_allocated() -> None:
    assert believed(STRANGER, 100, 0) == STRANGER


@pytest.mark.parametrize("seen", [NoDeviceLibrary.because("none"), STRANGER, peak(0, DEVICE_CHANGE)])
def test_a_model_that_lies_nowhere_on_a_device_has_no_peak(seen: Series) -> None:
    assert believed(seen, 0.0, 0) == Series((), note="nothing of the model lies on a GPU")


def test_what_a_driver_sees_of_a_model_without_buffers_there_is_told() -> None:
    assert believed(peak(200 * MIB), 0.0, 0) == peak(200 * MIB)


@pytest.mark.parametrize("seen", [NoDeviceLibrary.because("none"), STRANGER, peak(7)])
def test_where_llama_cpp_says_nothing_of_buffers_the_probe_s_word_stands(seen: Series) -> None:
    assert believed(seen, None, 0) == seen


def test_no_memory_at_all_is_no_figure() -> None:
    assert believed(peak(0, DEVICE_CHANGE), None, 0).values == ()


# --- ggml's word ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [90, 100, 400])
def test_without_a_library_the_change_that_ggml_tells_comes_before_buffers(told: float) -> None:
    assert believed(NoDeviceLibrary.because("none"), 100, told) == peak(told, REPORTED_BY_GGML)


@pytest.mark.parametrize("told", [0, 89])
def test_a_change_by_less_than_was_allocated_is_not_believed(told: float) -> None:
    assert believed(NoDeviceLibrary.because("none"), 100, told) == peak(100, ALLOCATED)


@pytest.mark.parametrize("seen", [peak(150), peak(150, DEVICE_CHANGE), STRANGER])
def test_what_a_driver_says_comes_before_what_ggml_says(seen: Series) -> None:
    assert believed(seen, 100, 130) == seen


def test_another_device_s_driver_does_not_make_ggml_s_word_a_driver_s() -> None:
    assert believed(peak(0, DEVICE_CHANGE), 100, 130) == peak(100, ALLOCATED)


def test_a_model_that_lies_nowhere_on_a_device_has_no_peak_whatever_changed_there() -> None:
    assert believed(NoDeviceLibrary.because("none"), 0.0, 130).values == ()


def test_what_ggml_tells_of_several_devices_is_summed_and_listed() -> None:
    seen = {"peak_vram": NoDeviceLibrary.because("none")}
    told = {"Vulkan0": 130.0 * MIB, "Vulkan1": 0.0}
    assert memory_series(seen, seen, CHAT, ON_VULKAN, told) == {
        "peak_vram": Series((130.0 * MIB,), note=REPORTED_BY_GGML),
        "gpu_Vulkan0_vram": Series((130.0 * MIB,)),
    }


# --- Two subjects at once -------------------------------------------------------------------------------


def test_what_is_told_by_process_is_read_in_every_session() -> None:
    own = {"peak_vram": peak(5), "peak_ram": Series((1.0,))}
    for first in (True, False):
        assert beside_another(own, {"peak_vram": peak(6)}, first=first) == own


def test_energy_is_taken_from_when_the_subject_was_alone_and_stands_once() -> None:
    own = {"peak_vram": peak(5)}
    alone = {"peak_vram": peak(6), "energy_per_token": Series((2.0,))}
    assert beside_another(own, alone, first=True) == {**own, "energy_per_token": Series((2.0,))}
    assert beside_another(own, alone, first=False) == own


@pytest.mark.parametrize("note", [DEVICE_CHANGE, REPORTED_BY_GGML, ALLOCATED])
def test_what_is_told_by_device_is_taken_from_when_the_subject_was_alone_and_stands_once(note: str) -> None:
    own = {"peak_vram": STRANGER, "peak_ram": Series((1.0,)), "gpu_0_clock": Series((2.0,))}
    alone = {"peak_vram": peak(6, note), "peak_ram": Series((3.0,)), "gpu_0_clock": Series((4.0,))}
    assert beside_another(own, alone, first=True) == {**alone, "peak_ram": Series((1.0,))}
    assert beside_another(own, alone, first=False) == {"peak_ram": Series((1.0,))}
