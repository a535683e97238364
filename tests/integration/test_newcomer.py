"""Ten mistakes of a newcomer, each with the one sentence that it ends in."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Project

TEST = """
    @pytest.mark.llm_model({model!r}, n_ctx=256{more})
    @pytest.mark.llm_workload(prompt_tokens={prompt}, generate_tokens=8)
    @pytest.mark.{marker}
    def test_chat(llm_bench): ...
"""
WRITTEN = {"model": "smollm2-135m", "more": "", "prompt": "8", "marker": "llm_tokens_per_second(min=1)"}


@pytest.fixture
def written(project: Project) -> Callable[..., Project]:
    def write(**values: str) -> Project:
        project.write(TEST.format(**{**WRITTEN, **values}))
        return project

    return write


def test_1_without_the_flag_benchmarks_are_skipped_and_that_is_shown(written: Callable[..., Project]) -> None:
    result = written().run()
    result.assert_outcomes(skipped=1)
    assert "llm-bench: 1 benchmark is skipped: --llm-bench runs them" in result.outlines


def test_2_a_reference_without_the_flag(written: Callable[..., Project]) -> None:
    assert written().usage_error("--llm-against=0.3.16") == (
        "ERROR: --llm-against needs --llm-bench: without it, benchmarks are skipped; give both, or set "
        "llm_against in the ini file, where runs without --llm-bench ignore it"
    )


def test_3_tests_beside_each_other(written: Callable[..., Project]) -> None:
    assert written().usage_error("--llm-bench", "-n2") == (
        "ERROR: --llm-bench cannot measure under pytest-xdist, where tests run beside each other: add -n 0"
    )


def test_4_the_reference_is_the_candidate(written: Callable[..., Project]) -> None:
    assert written().usage_error("--llm-bench", "--llm-against=llama-cpp-python") == (
        "ERROR: --llm-against llama-cpp-python is the candidate: name another build, or measure the noise "
        "with --llm-aa"
    )


def test_5_a_model_of_ollama(written: Callable[..., Project]) -> None:
    assert written().usage_error("--llm-bench", "--llm-model=llama3.2:1b") == (
        "ERROR: --llm-model: model 'llama3.2:1b': there is no such file, and a model of Ollama is not "
        "downloaded: write ollama:llama3.2:1b if Ollama has it, or the path of a .gguf file"
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        pytest.param(
            {"model": "smolm2"},
            "unknown model 'smolm2': did you mean smollm2-135m? (add it to [tool.pytest_llm.models] of "
            "{folder}/pyproject.toml, or give the path of a .gguf file)",
            id="6 a model's name",
        ),
        pytest.param(
            {"model": "models/x.gguf"}, "{folder}/models/x.gguf: there is no such file", id="6 a path"
        ),
        pytest.param(
            {"model": "./model.safetensors"},
            "{folder}/model.safetensors: it is not a GGUF file: it is of the safetensors format; convert the "
            "model with convert_hf_to_gguf.py of llama.cpp (at byte 0)",
            id="7 another format",
        ),
        pytest.param(
            {"marker": "llm_tokens_per_second(minimum=1)"},
            "unknown argument of llm_tokens_per_second 'minimum': did you mean min?",
            id="8 an argument",
        ),
        pytest.param(
            {"marker": "llm_vram(max='5.8 gigs')"},
            "llm_vram: '5.8 gigs' is not a size: the unit 'gigs' is not one of B, kB, KB, MB, GB, TB, KiB, "
            "MiB, GiB, TiB; write '40 GiB', say",
            id="8 a unit",
        ),
        pytest.param(
            {"more": ", n_context=256"}, "unknown load option 'n_context': write n_ctx", id="8 an option"
        ),
        pytest.param(
            {"prompt": "800"},
            "the context is too small: depth 0 + 800 prompt tokens + 8 generated = 808 tokens, n_ctx=256: "
            "raise n_ctx to 1024 in llm_model",
            id="9 a context",
        ),
    ],
)
def test_what_a_marker_gets_wrong(
    values: dict[str, str], sentence: str, written: Callable[..., Project]
) -> None:
    project = written(**values)
    header = b'{"__metadata__":{}}'
    (project.path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (text,) = project.failures().values()
    assert text == sentence.format(folder=project.path)


def test_10_an_environment_without_llama_cpp_python(written: Callable[..., Project], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    project = written()
    (text,) = project.texts(project.run("--llm-bench", f"--llm-candidate=venv:{bare}")).values()
    assert text == (
        f"llama-cpp-python@venv:{bare}: ModuleNotFoundError: No module named 'llama_cpp' "
        f"({bare}/bin/python -m pip install llama-cpp-python)"
    )
