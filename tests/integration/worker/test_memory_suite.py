"""``pytest --pyargs pytest_llm.suite.memory`` says which bytes are not where or what they should be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.integration.worker.devices import small_gguf, written

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project, StandIn

SUITE = ("--pyargs", "pytest_llm.suite.memory", "-p", "no:cacheprovider")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.write_bytes(small_gguf())
    return path


def memory(project: Project, model: Path, chosen: str) -> pytest.RunResult:
    """Run some of the suite's tests on the stand-in."""
    options = (f"--llm-candidate={project.candidate}", f"--llm-model={model}", "-k", chosen)
    return project.run(*SUITE, *options)


def test_a_cache_of_the_predicted_size_passes_and_is_told(
    project: Project, stand_in: StandIn, model: Path
) -> None:
    stand_in.set(log=written(3.0, 0.0, kv=0.25))
    result = memory(project, model, "cache_is_as_predicted and 256")
    assert result.parseoutcomes()["passed"] == 1
    assert "  KV cache, n_ctx=256: host 0.25 MiB, predicted 0.25" in result.outlines


@pytest.mark.parametrize("place", ["nothing there", "a library that cannot be loaded"])
def test_a_build_that_does_not_start_fails_every_test(
    project: Project, stand_in: StandIn, model: Path, tmp_path: Path, place: str
) -> None:
    """Tests that are skipped as not covered would end green."""
    if place == "nothing there":
        project = replace(project, candidate=f"llama-cpp-python@venv:{tmp_path}")
    else:
        stand_in.set(fault="import=error")

    result = memory(project, model, "as_predicted or blocks")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert set(result.parseoutcomes()) & {"passed", "skipped", "errors"} == {"errors"}


def test_a_cache_of_another_size_fails(project: Project, stand_in: StandIn, model: Path) -> None:
    stand_in.set(log=written(3.0, 0.0, kv=0.3))
    (text,) = project.texts(memory(project, model, "cache_is_as_predicted and 256")).values()
    assert text == ("the KV cache of {'n_ctx': 256} is not as predicted: host 0.30 MiB, predicted 0.25")


def test_weights_of_another_size_fail(project: Project, stand_in: StandIn, model: Path) -> None:
    stand_in.set(log=written(2.9, 0.0))
    (text,) = project.texts(memory(project, model, "weights_are_as_predicted")).values()
    assert text == "the weights are not as predicted: host 2.90 MiB, predicted 3.00"


def test_a_type_that_does_not_change_the_cache_fails(
    project: Project, stand_in: StandIn, model: Path
) -> None:
    stand_in.set(log=written(3.0, 0.0, kv=1.0))
    (text,) = project.texts(memory(project, model, "blocks and q8_0")).values()
    assert text == "a KV cache of q8_0 is 1.000 times as large as one of f16, expected 0.531"


def test_what_needs_a_device_is_not_covered_without_one(project: Project, model: Path) -> None:
    result = memory(project, model, "test_devices")
    assert project.texts(result) == {}
    assert result.parseoutcomes()["skipped"] == 3
    lines = result.outlines[result.outlines.index("not covered:") :]
    reason = "layers on a device: the build has no GPU backend, or it finds no device here"
    assert lines[1].strip() == reason


@pytest.mark.slow
def test_a_cache_that_does_not_move_and_layers_that_do_not_grow_fail(
    project: Project, stand_in: StandIn, model: Path
) -> None:
    stand_in.set(gpu="yes", log=written(0.5, 2.5, device_kv=0.25))
    texts = project.texts(memory(project, model, "test_devices"))
    assert texts == {
        "test_each_further_layer_takes_a_layer_more": (
            "n_gpu_layers=2 puts 0.00 MiB more on CUDA0 than 1, a layer has 1.00 MiB"
        ),
        "test_without_offload_kqv_the_cache_moves_to_the_host_and_nothing_else": (
            "offload_kqv=False leaves {'host': 0, 'device': 262144} of the KV cache, with it on CUDA0 it is "
            "{'host': 0, 'device': 262144}"
        ),
    }


@pytest.mark.parametrize(("layers", "fails"), [("3/3", False), ("2/3", True)])
def test_every_layer_has_to_be_there_by_number(
    layers: str, fails: bool, project: Project, stand_in: StandIn, model: Path
) -> None:
    stand_in.set(gpu="yes", log=written(0.5, 2.5, device_kv=0.25).replace("3/3", layers))
    texts = project.texts(memory(project, model, "every_layer"))
    assert list(texts.values()) == (["2/3 layers are on CUDA0, not all 3"] if fails else [])


def test_without_the_plugin_it_is_refused_in_one_line(project: Project) -> None:
    result = project.run(*SUITE, "-p", "no:llm_bench")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "pytest_llm.suite.memory needs the plugin of pytest-llm-bench" in "\n".join(
        result.outlines + result.errlines
    )
