"""What the worker tells of devices, of a release that is pretended."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from pytest_llm.engines.llama_cpp_python.worker import devices
from pytest_llm.engines.llama_cpp_python.worker.bindings import Bindings
from pytest_llm.engines.llama_cpp_python.worker.devices import free_memory
from pytest_llm.engines.llama_cpp_python.worker.names import NEEDS

CPU, GPU, INTEGRATED, ACCELERATOR, SEVERAL = range(5)


class Pretended(NamedTuple):
    name: str
    kind: int
    free: int
    total: int


def bindings_of(monkeypatch: pytest.MonkeyPatch, *devices: Pretended, without: str = "") -> Bindings:
    asked: dict[str, Any] = {
        "ggml_backend_dev_count": lambda: len(devices),
        "ggml_backend_dev_get": lambda index: devices[index],
        "ggml_backend_dev_type": lambda device: device.kind,
        "ggml_backend_dev_name": lambda device: device.name.encode(),
        "ggml_backend_dev_memory": on_progress,
    }
    module: dict[str, Any] = {name: lambda *_: None for name in (*NEEDS, "llama_log_callback")}
    module |= asked
    module.pop(without, None)
    monkeypatch.setitem(sys.modules, "llama_cpp", SimpleNamespace(**module))
    return Bindings()


def on_progress(device: Pretended, free: Any, total: Any) -> None:
    if device.name.startswith(("CUDA", "ROCm", "MUSA")):
        raise AssertionError("asking it starts its runtime")
    free._obj.value, total._obj.value = device.free, device.total


def test_every_device_with_memory_of_its_own_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = (
        Pretended("Vulkan0", GPU, 2**33, 2**34),
        Pretended("Vulkan1", INTEGRATED, 0, 2**32),
        Pretended("BLAS", ACCELERATOR, 0, 0),
        Pretended("CPU", CPU, 2**34, 2**35),
        Pretended("Meta", SEVERAL, 2**33, 2**35),
    )
    assert free_memory(bindings_of(monkeypatch, *devices)) == {"Vulkan0": 2**33, "Vulkan1": 0}


@pytest.mark.parametrize("name", ["CUDA0", "ROCm1", "MUSA0"])
def test_a_device_whose_runtime_is_started_by_asking_is_not_asked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert free_memory(bindings_of(monkeypatch, Pretended(name, GPU, 1, 2))) == {}


@pytest.mark.parametrize("lacking", devices._NEEDED)
def test_a_release_that_lacks_a_function_tells_nothing(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = bindings_of(monkeypatch, Pretended("Vulkan0", GPU, 1, 2), without=lacking)
    assert free_memory(found) == {}
