"""Layers that were to go to a device and are on the CPU: an error that names them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.worker.devices import USING, small_gguf, written

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project, StandIn

TEST = """
    @pytest.mark.llm_model(n_ctx=512, {options})
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)
    def test_it(llm_bench):
        pass
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.write_bytes(small_gguf())
    return path


def outcome(project: Project, model: Path, options: str = "") -> str:
    """What the benchmark shows for its failure, "" if it passed."""
    project.write(TEST.format(options=options))
    texts = replace(project, model=model).failures()
    return texts["test_it"] if texts else ""


def test_layers_that_are_all_on_the_cpu_fail_the_test_with_their_number_and_bytes(
    project: Project, stand_in: StandIn, model: Path
) -> None:
    stand_in.set(gpu="yes", log=written(3.0, 0.0, kv=0.5))

    head, *log = outcome(project, model).splitlines()

    assert head == (
        "llama-cpp-python 0.0.1 (llama.cpp 57a9d1234): n_gpu_layers=-1 asks for all 3 layers on a device "
        "with 2.50 MiB of weights: about 0 with 0.00 MiB are there, the rest is on the CPU"
    )
    assert log[:2] == [f"  | {USING}", "  | load_tensors: offloaded 3/3 layers to GPU"]


def test_one_layer_of_three_that_is_not_there_is_seen(
    project: Project, stand_in: StandIn, model: Path
) -> None:
    stand_in.set(gpu="yes", log=written(1.5, 1.5, device_kv=0.5))
    assert (
        "asks for 3 layers on a device with 2.50 MiB of weights: about 1 with 1.50 MiB are there"
        in outcome(project, model, "n_gpu_layers=3")
    )


def test_a_cache_that_stayed_on_the_cpu_is_seen(project: Project, stand_in: StandIn, model: Path) -> None:
    stand_in.set(gpu="yes", log=written(0.5, 2.5, kv=0.5))
    assert "0.50 MiB of KV cache should be on the device, 0.00 MiB are there" in outcome(project, model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "log"),
    [
        ("", written(0.5, 2.5, device_kv=0.5)),
        ("offload_kqv=False", written(0.5, 2.5, kv=0.5)),
        ("n_gpu_layers=2", written(1.5, 1.5, kv=0.25, device_kv=0.25)),
        ("n_gpu_layers=0", written(3.0, 0.0, kv=0.5)),
        ("", written(3.0, 0.0, kv=0.5).partition("\n")[2]),
        ("", f"{written(0.5, 1.5)}\nmodel has unused tensor blk.1.x (size = 1048576 bytes) -- ignoring"),
    ],
    ids=["all", "cache on the host", "two", "none", "no device", "ignored"],
)
def test_what_is_where_it_should_be_passes(
    options: str, log: str, project: Project, stand_in: StandIn, model: Path
) -> None:
    stand_in.set(gpu="yes", log=log)
    assert outcome(project, model, options) == ""


@pytest.mark.parametrize(
    ("gpu", "why"),
    [("no", "it has no GPU backend, or none that finds a device"), ("yes", "it found no device")],
)
def test_layers_asked_for_by_number_without_a_device_are_an_error(
    gpu: str, why: str, project: Project, stand_in: StandIn, model: Path
) -> None:
    stand_in.set(gpu=gpu, log="load_tensors: CPU_Mapped model buffer size = 3.00 MiB")
    assert outcome(project, model, "n_gpu_layers=2").splitlines()[0] == (
        "llama-cpp-python 0.0.1 (llama.cpp 57a9d1234): n_gpu_layers=2 asks for 2 layers on a device with "
        f"1.50 MiB of weights, and all of it is on the CPU: {why}; take a build for this machine's GPU, or "
        "n_gpu_layers=0"
    )


def test_a_functional_test_is_told_as_well(project: Project, stand_in: StandIn, model: Path) -> None:
    stand_in.set(gpu="yes", log=written(3.0, 0.0))
    project.write("def test_it(gguf_model): pass", "test_it.py")
    (text,) = project.texts(
        project.run(f"--llm-candidate={project.candidate}", f"--llm-model={model}")
    ).values()
    assert "n_gpu_layers=-1 asks for all 3 layers" in text


@pytest.mark.slow
def test_predicted_bytes_are_beside_the_logged_ones_in_results_and_summary(
    project: Project, stand_in: StandIn, model: Path
) -> None:
    stand_in.set(log=written(3.0, 0.0, kv=0.5).partition("\n")[2])
    project.write(TEST.format(options=""))

    result = replace(project, model=model).measure("--llm-json=results.json")

    found: dict[str, Any] = json.loads((project.path / "results.json").read_text())["tests"][0]["memory"]
    both = {"host": 3 * 2**20, "device": 0}
    assert found["weights"] == {"predicted": both, "logged": both}
    assert found["kv"]["predicted"] == found["kv"]["logged"] == {"host": 2**19, "device": 0}
    (line,) = (line for line in result.outlines if line.startswith("memory of "))
    assert line.endswith(
        "n_ctx=512: weights 3.000 MiB (predicted 3.000 MiB), KV cache 512.0 KiB (predicted 512.0 KiB)"
    )
