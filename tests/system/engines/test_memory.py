"""Bytes of a real model: predicted, logged, and counted by the kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import CPUFallbackError
from pytest_llm.models.footprint import predict_file
from pytest_llm.records import LoadOptions, Subject, Workload

from .conftest import BUILD, PATIENCE

if TYPE_CHECKING:
    from pytest_llm.records import Model

    from .conftest import Start

# Where these are set, a device must be there: a build that has a GPU backend, and that it finds one.
CANDIDATE, REQUIRED = "PYTEST_LLM_DEVICE_CANDIDATE", "PYTEST_LLM_DEVICE_REQUIRED"


def suite(*arguments: str) -> tuple[int, str]:
    """Run the memory suite in a process of its own; return its exit status and what it wrote."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfE"]
    command += ["--pyargs", "pytest_llm.suite.memory", *arguments]
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", env=kept, check=False
    )
    return done.returncode, done.stdout


def test_the_installed_build_takes_the_bytes_that_are_predicted() -> None:
    status, output = suite()
    assert status == 0, output
    assert "predicted and found:" in output
    assert "KV cache, n_ctx=1000, n_seq_max=3: host 33.75 MiB, predicted 33.75" in output
    if sys.platform.startswith("linux"):
        assert "mmap has 9" in output
        share = re.search(r"of mapped weights, (\d+)% count for each of two processes", output)
        assert share is not None, output
        assert 0 < int(share[1]) <= 50  # less while another test has the same file loaded


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_ctx": 700, "type_k": "q8_0", "type_v": "q4_0", "flash_attn": "on"},
        {"n_ctx": 2048, "n_seq_max": 4, "type_k": "f32", "flash_attn": "off"},
        {"n_ctx": 2048, "n_seq_max": 4, "kv_unified": True},
    ],
    ids=str,
)
def test_the_cache_of_a_real_model_is_predicted_within_two_percent(
    options: dict[str, Any], start: Start
) -> None:
    memory: Any = start(**options).effective_options()["memory"]
    assert memory["kv"]["logged"]["host"] == pytest.approx(memory["kv"]["predicted"]["host"], rel=0.02)
    assert memory["weights"]["predicted"]["host"] == pytest.approx(92.1 * 2**20, rel=0.02)
    assert memory["reasons"] == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_a_subject_is_asked_before_any_timing_leaves_no_memory_behind(start: Start) -> None:
    loaded = start()
    loaded.rehearse(Workload(prompt_tokens=32, generate_tokens=8))
    process = psutil.Process(loaded.pid)

    def anonymous() -> int:
        told = process.memory_info()
        return int(told.rss - told.shared)

    before = anonymous()
    loaded.greedy("The capital of France is", 12)
    assert anonymous() - before < 2**20


def test_what_a_device_takes_of_a_real_model_is_predicted(smollm2: Model) -> None:
    found = predict_file(smollm2.path, LoadOptions(n_ctx=512), on_device=True)
    assert found.weights is not None
    assert found.kv is not None
    # As a build with Vulkan logged on a device: model 92.10 MiB, KV 11.25 MiB, 31 layers.
    assert found.weights.device / 2**20 == pytest.approx(92.10, rel=0.001)
    assert found.kv == (0, 11.25 * 2**20)
    assert found.layers == 31


def test_layers_asked_for_of_a_build_without_a_gpu_backend_are_an_error(smollm2: Model) -> None:
    if os.environ.get(CANDIDATE):
        pytest.skip("another build is under test, which has a device")
    subject = Subject(smollm2.name, BUILD, LoadOptions(n_ctx=256, n_gpu_layers=30))
    loaded = LlamaCppPython(BUILD, PATIENCE).start(subject, smollm2)
    try:
        with pytest.raises(CPUFallbackError, match="n_gpu_layers=30 asks for 30 layers on a device with"):
            loaded.load()
    finally:
        loaded.close()


def test_on_a_device_layers_weights_and_cache_are_as_predicted() -> None:
    candidate = os.environ.get(CANDIDATE, "")
    status, output = suite("-k", "test_devices", *([f"--llm-candidate={candidate}"] if candidate else []))
    assert status == 0, output
    if "not covered:" in output and not os.environ.get(REQUIRED):
        (reason,) = {line.strip() for line in output.splitlines() if "layers on a device:" in line}
        pytest.skip(f"not covered: {reason}")
    assert "not covered:" not in output, output
    assert "kv, n_gpu_layers=-1: device " in output
