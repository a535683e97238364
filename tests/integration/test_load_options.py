"""Load options that are written as on llama.cpp's command line, and adapters: read, hashed and shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests import tiny_models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

LIMIT = """
    @pytest.mark.llm_model({options})
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
    @pytest.mark.llm_tokens_per_second(min={minimum})
    @pytest.mark.llm_no_regression()
    def test_speed(llm_bench): ...
"""


def write(project: Project, options: str, minimum: float = 1) -> None:
    project.write(LIMIT.format(options=options, minimum=minimum))


@pytest.fixture
def llama(project: Project) -> Path:
    return tiny_models.llama(project.path / "base.gguf")


def test_places_of_tensors_are_passed_through_and_shown(project: Project) -> None:
    options = r"tensor_buft_overrides=r'blk\.0\..*=CPU', tensor_split='3,1', numa='distribute', n_cpu_moe=2"
    write(project, options, 1000)
    failed = project.failures("--llm-json=results.json")
    shown = r"n_cpu_moe=2, tensor_buft_overrides=blk\.0\..*=CPU, tensor_split=3,1, numa=distribute"
    assert shown in failed["test_speed"]
    test = json.loads((project.path / "results.json").read_text())["tests"][0]
    assert test["load_options"]["tensor_split"] == test["effective_options"]["tensor_split"] == "3,1"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("tensor_buft_overrides='CPU'", r"is not written as 'ffn_.*_exps=CPU'"),
        ("tensor_split='a,b'", "is not written as '3,1'"),
        ("tensor_split=3", "tensor_split=3 is not written as '3,1'"),
        ("n_cpu_moe=-1", "n_cpu_moe=-1 is less than 0"),
        ("yarn_ext_factor=-2", "yarn_ext_factor=-2 is less than -1"),
        ("numa='mirror'", "is not one of disabled, distribute, isolate, numactl"),
        ("lora='base.bin'", "'base.bin' is not FILE.gguf or FILE.gguf:SCALE"),
        ("lora='style.gguf:much'", "'style.gguf:much' is not FILE.gguf or FILE.gguf:SCALE"),
        ("lora='nowhere.gguf'", "there is no such file"),
        ("lora_scaled='style.gguf'", "write lora='FILE.gguf:SCALE'"),
        ("override_tensor='a=CPU'", "write tensor_buft_overrides"),
    ],
)
def test_what_is_written_otherwise_is_refused(project: Project, options: str, problem: str) -> None:
    write(project, options)
    assert problem in project.failures()["test_speed"].replace("\\\\", "\\")


def test_an_adapter_is_hashed_and_shown(project: Project, llama: Path) -> None:
    tiny_models.lora(project.path / "style.gguf")
    write(project, "'base.gguf', lora='style.gguf:0.5'", 1000)
    failed = project.failures("--llm-json=results.json")
    assert "adapter style.gguf of SHA-256 " in failed["test_speed"]
    assert "… times 0.5" in failed["test_speed"]
    (adapter,) = json.loads((project.path / "results.json").read_text())["tests"][0]["model"]["adapters"]
    assert (adapter["name"], adapter["scale"], len(adapter["sha256"])) == ("style.gguf", 0.5, 64)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: tiny_models.lora(folder / "style.gguf", alpha=8.0), "recorded with lora="),
        (lambda _: None, ""),
    ],
    ids=["another adapter", "the same"],
)
def test_a_changed_adapter_is_no_longer_the_baselines(
    project: Project,
    fake: Fake,
    llama: Path,
    change: object,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    tiny_models.lora(project.path / "style.gguf")
    write(project, "'base.gguf', lora='style.gguf'")
    project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)
    assert callable(change)
    change(project.path)
    text = project.measure().stdout.str()
    assert told in text
    assert bool(told) == ("recorded with lora=" in text)


def test_an_adapter_for_another_architecture_and_a_file_that_is_none_are_refused(
    project: Project, llama: Path
) -> None:
    tiny_models.lora(project.path / "other.gguf", kind="qwen2")
    project.write("""
        @pytest.mark.llm_model("base.gguf", lora="other.gguf")
        def test_other(gguf_model): ...

        @pytest.mark.llm_model("base.gguf", lora="base.gguf")
        def test_none(gguf_model): ...
    """)
    failed = project.failures()
    assert "is an adapter for qwen2, base.gguf is llama" in failed["test_other"].replace("./", "")
    assert "base.gguf is no LoRA adapter" in failed["test_none"]
