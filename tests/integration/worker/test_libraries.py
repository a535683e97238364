"""A build that loads a library of another build is not measured under its own name."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.system.procfs import mapped_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Project

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is mapped is read from /proc")
BENCHMARK = """
    import pytest

    @pytest.mark.llm_model(n_threads=2)
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""
FUNCTIONAL = """
    def test_answers(gguf_model):
        pass
"""


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A library that every process can load, under a name of llama.cpp's."""
    real = next(each for each in sorted(mapped_files(os.getpid())) if Path(each).name.startswith("libc."))
    path = tmp_path / "other" / "libggml-moon.so"
    path.parent.mkdir()
    shutil.copy(real, path)
    return path


@pytest.mark.parametrize("test", [BENCHMARK, FUNCTIONAL])
def test_a_variable_that_replaces_the_library_of_an_environment_is_an_error_that_names_both(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, test: str
) -> None:
    (tmp_path / "libllama.so").touch()
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    project.write(test)

    result = project.measure()

    result.assert_outcomes(errors=1)
    (text,) = project.texts(result).values()
    assert f"{project.candidate}: LLAMA_CPP_LIB_PATH={tmp_path} loads {tmp_path / 'libllama.so'} " in text
    assert f"unset LLAMA_CPP_LIB_PATH, or name the library's own build, lib:{tmp_path}" in text


@LINUX
def test_a_library_that_is_preloaded_into_a_worker_is_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, foreign: Path
) -> None:
    monkeypatch.setenv("LD_PRELOAD", str(foreign))
    project.write(BENCHMARK)

    (text,) = project.failures().values()

    assert f"LD_PRELOAD={foreign} loads {foreign} which is no part of it: unset LD_PRELOAD" in text


@LINUX
def test_a_library_that_is_preloaded_into_llama_bench_is_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, foreign: Path, bench_program: Callable[..., Path]
) -> None:
    program = bench_program()
    monkeypatch.setenv("LD_PRELOAD", str(foreign))
    project.write(BENCHMARK)

    result = project.run(
        "--llm-bench", f"--llm-candidate=llama-bench@bin:{program}", f"--llm-model={project.model}"
    )

    (text,) = project.texts(result).values()
    assert f"llama-bench@bin:{program}: LD_PRELOAD={foreign} loads {foreign} which is no part of it" in text


def test_what_is_mapped_into_a_process_is_read_whatever_its_paths_hold(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        assert not mapped_files(os.getpid())
        return
    assert any("python" in each for each in mapped_files(os.getpid()))
    assert not mapped_files(2**22 + 1)
