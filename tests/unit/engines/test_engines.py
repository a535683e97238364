"""Which build is meant, and how a worker is spoken with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llm.builds.reference import parse_build
from pytest_llm.engines.llama_cpp_python import process
from pytest_llm.errors import UnknownNameError, UsageError
from pytest_llm.records import Installed, Venv


def test_an_engine_alone_is_the_one_of_this_environment() -> None:
    assert parse_build("llama-cpp-python", Path.cwd()) == Installed("llama-cpp-python")


@pytest.mark.parametrize("text", ["llama-cpp-python@venv:{}", "venv:{}"])
def test_a_virtual_environment_is_given_by_its_folder(text: str, tmp_path: Path) -> None:
    build = parse_build(text.format(tmp_path), Path.cwd())
    assert build == Venv("llama-cpp-python", str(tmp_path))
    assert str(build) == f"llama-cpp-python@venv:{tmp_path}"
    assert parse_build(str(build), Path.cwd()) == build


def test_a_relative_folder_counts_from_where_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    assert parse_build("venv:env", tmp_path) == Venv("llama-cpp-python", str(tmp_path / "env"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("llama-cpp-pyton", "did you mean llama-cpp-python"),
        ("", "unknown engine"),
        ("llama-cpp-python@", "is not a place"),
        ("llama-cpp-python@venv", "is not a place"),
        ("llama-cpp-python@venv:", "is not a place"),
        ("llama-cpp-python@moon:/x", "is not a place"),
        ("venv:/nowhere/at/all", "no folder /nowhere/at/all"),
    ],
)
def test_a_build_that_cannot_be_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_build(text, Path.cwd())
    assert "\n" not in str(caught.value)


def test_an_unknown_engine_is_told_by_name() -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_build("lama-cpp-python", Path.cwd())
    assert caught.value.nearest == ("llama-cpp-python",)


def test_a_worker_gets_what_a_program_needs_and_what_changes_speed() -> None:
    kept = {"PATH", "HOME", "LANG", "LD_PRELOAD", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"}
    dropped = {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "GITHUB_TOKEN", "GGML_X", "LLAMA_ARG_THREADS"}
    environ = dict.fromkeys(kept | dropped, "1")
    added = {"GGML_NO_BACKTRACE"}
    assert set(process.worker_environment(environ)) == kept | added
    assert set(process.worker_environment(environ, ("PYTHONPATH",))) == kept | added | {"PYTHONPATH"}


@pytest.mark.parametrize(
    ("returncode", "out_of_memory", "words"),
    [
        (-4, False, "SIGILL, an instruction this CPU lacks: rebuild with CMAKE_ARGS=-DGGML_NATIVE=OFF"),
        (-11, False, "SIGSEGV, a crash inside llama.cpp"),
        (-6, False, "SIGABRT, llama.cpp gave up"),
        (-9, True, "out-of-memory killer: lower n_ctx"),
        (-9, False, "SIGKILL, sent by someone"),
        (-15, False, "SIGTERM, sent by someone"),
        (3, False, "exit status 3"),
        (None, False, "it closed its pipes, and was ended"),
    ],
)
def test_the_cause_of_an_end_is_told_with_its_fix(
    returncode: int | None, out_of_memory: bool, words: str
) -> None:
    assert words in process.cause_of_end(returncode, out_of_memory=out_of_memory)
