"""A real model whose anonymous memory stands for VRAM: its load moves what the real pynvml tells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pynvml  # type: ignore[import-untyped]
import pytest

from pytest_llm.engines.llama_cpp_python.worker.names import NEEDS
from pytest_llm.machine.memory.rss import ProcessMemory
from pytest_llm.machine.probes import Together
from pytest_llm.measure.memory import memory_series
from pytest_llm.records import Workload
from pytest_llm.records.device_memory import DEVICE_CHANGE, PER_PROCESS
from pytest_llm.stats.signed_rank import interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.records import Model, Series
    from tests.nvml_library import Library, Script

    from .conftest import Start

SMALL = Workload(prompt_tokens=16, generate_tokens=8)
UNTOLD = [
    f"error nvmlDeviceGetComputeRunningProcesses_v{version} {pynvml.NVML_ERROR_NO_PERMISSION}"
    for version in (2, 3)
]


@pytest.fixture
def library(nvml_library: Callable[..., Library]) -> Library:
    return nvml_library()


def seen_of(loaded: LoadedModel, library: Library) -> dict[str, Series]:
    """What a session shows of memory when it loads and goes through one request."""
    probe = Together(ProcessMemory().watch, library.memory().watch)
    with probe.watch(loaded.pid) as at_load:
        loaded.load()
    with probe.watch(loaded.pid) as at_work:
        loaded.rehearse(SMALL)
    return memory_series(at_load, at_work, SMALL, loaded.effective_options(), loaded.on_devices())


@pytest.mark.parametrize("by_process", [True, False])
def test_the_load_of_a_real_model_moves_the_figure(
    library: Library,
    nvml_script: Script,
    start: Start,
    smollm2: Model,
    by_process: bool,
) -> None:
    loaded = start(load=False, load_mode="none")  # its weights are then memory of its own
    nvml_script.write("devices 1", f"process 0 {loaded.pid} rss", *([] if by_process else UNTOLD))
    found = seen_of(loaded, library)
    assert found["peak_vram"].note == (PER_PROCESS if by_process else DEVICE_CHANGE)
    peak, anonymous = found["peak_vram"].values[0], found["peak_ram_anonymous"].values[0]
    assert 0.97 * smollm2.file_bytes < peak <= 1.05 * anonymous
    # What the process had before the load is not in the change.
    assert by_process == (peak > 0.95 * anonymous)


def test_a_model_on_the_cpu_beside_a_gpu_has_no_vram(
    library: Library,
    nvml_script: Script,
    start: Start,
) -> None:
    loaded = start(load=False)
    nvml_script.write("devices 1", "used 0 5000", "process 0 1 5000")
    assert seen_of(loaded, library)["peak_vram"].note == "nothing of the model lies on a GPU"


def test_ggml_is_asked_of_devices_and_has_none_but_the_cpu(start: Start) -> None:
    loaded = start(load=False)
    names = loaded._worker.ask("names")
    asked = [name for name in NEEDS if name.startswith("ggml_backend_dev_")]
    assert len(asked) == 6
    assert [names[name] for name in asked] == asked
    assert loaded._worker.ask("free_memory") == {}
    loaded.load()
    loaded.rehearse(SMALL)
    assert loaded.on_devices() == {}


ROUNDS = 40
TOLERATED = 0.01


@pytest.mark.timed
def test_sampling_does_not_move_the_speed_of_generation(
    library: Library,
    nvml_script: Script,
    start: Start,
) -> None:
    loaded = start()
    nvml_script.write("devices 1", f"process 0 {loaded.pid} rss")
    probe = library.memory()
    loaded.rehearse(SMALL)

    def sampled() -> float:
        with probe.watch(loaded.pid):
            return unsampled()

    def unsampled() -> float:
        seconds = loaded.generation_slice(8)[1]
        loaded.end_round()
        return seconds

    for take in (sampled, unsampled):
        take()
    ratios = []
    for number in range(ROUNDS):
        order = (sampled, unsampled) if number % 2 else (unsampled, sampled)
        times = {take: take() for take in order}
        ratios.append(math.log(times[sampled] / times[unsampled]))
    slower = interval(ratios, 0.998)
    assert slower is not None
    assert slower[0] < TOLERATED, f"slower by {slower[0]:.1%} … {slower[1]:.1%}"
