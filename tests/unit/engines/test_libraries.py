"""Libraries of another build are refused by what is mapped, whatever brought them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.libraries import (
    Libraries,
    are_equal,
    computing,
    llama_library,
    names,
    program_folders,
)
from pytest_llm.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path


def library(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    return folder / name


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of a build with its libraries."""
    for name in ("libllama.so.0", "libggml.so.0", "libggml-cpu.so.0"):
        library(tmp_path / "own", name)
    return tmp_path / "own"


def refused(own: Path, mapped: list[Path], **environment: str) -> str:
    """Return why a process is refused; "" if it is not."""
    try:
        Libraries("the-build", environment).check(map(str, mapped), [own])
    except BuildError as error:
        return str(error)
    return ""


def test_a_build_with_its_own_libraries_passes_whatever_is_exported(own: Path) -> None:
    mapped = [*own.iterdir(), own.parent / "libc.so.6"]
    assert not refused(own, mapped, LD_LIBRARY_PATH=str(own), LLAMA_CPP_LIB_PATH=str(own))


@pytest.mark.parametrize("variable", ["LLAMA_CPP_LIB_PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"])
def test_a_folder_that_replaces_a_library_is_named_with_both(
    own: Path, tmp_path: Path, variable: str
) -> None:
    other = library(tmp_path / "other", "libllama.so.0.5")
    folders = f"/nowhere:{other.parent}" if variable != "LLAMA_CPP_LIB_PATH" else str(other.parent)
    assert refused(own, [other], **{variable: folders}) == (
        f"the-build: {variable}={folders} loads {other} instead of {own / 'libllama.so.0'}: "
        f"unset {variable}, or name the library's own build, lib:{other.parent}"
    )


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "GGML_BACKEND_PATH", "DYLD_INSERT_LIBRARIES"])
def test_a_library_that_is_added_to_a_build_is_refused(own: Path, tmp_path: Path, variable: str) -> None:
    other = library(tmp_path / "other", "libggml-moon.so")
    message = refused(own, [*own.iterdir(), other], **{variable: str(other)})
    assert message.startswith(f"the-build: {variable}={other} loads {other} which is no part of it: unset")


def test_a_backend_from_the_working_folder_is_refused(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = library(tmp_path / "work", "libggml-cuda.so")
    monkeypatch.chdir(other.parent)
    assert f"it loads {other} which is no part of it: remove that file" in refused(own, [other])


def test_a_library_that_replaces_another_without_any_variable_is_refused(own: Path, tmp_path: Path) -> None:
    other = library(tmp_path / "other", "libggml.so.0")
    assert f"it loads {other} instead of {own / 'libggml.so.0'}" in refused(
        own, [own / "libllama.so.0", other]
    )


def test_a_build_that_keeps_its_libraries_elsewhere_passes(tmp_path: Path) -> None:
    elsewhere = library(tmp_path / "system", "libllama.so.0")
    (tmp_path / "own").mkdir()
    assert not refused(tmp_path / "own", [elsewhere])
    assert not refused(tmp_path / "own", [elsewhere], LD_LIBRARY_PATH=str(elsewhere.parent))


def test_links_of_a_build_to_its_libraries_pass(own: Path, tmp_path: Path) -> None:
    elsewhere = library(tmp_path / "system", "libggml.so.0.1")
    (own / "libggml.so.0").unlink()
    (own / "libggml.so.0").symlink_to(elsewhere)
    assert not refused(own, [elsewhere], LD_LIBRARY_PATH=str(elsewhere.parent))


def test_a_library_that_was_compiled_anew_is_another(own: Path) -> None:
    libraries = Libraries("the-build", {})
    libraries.check([str(own / "libllama.so.0")], [own])
    libraries.check([str(own / "libllama.so.0")], [own])
    os.utime(own / "libllama.so.0", ns=(1, 1))
    with pytest.raises(BuildError, match=r"libllama\.so\.0 changed during this run"):
        libraries.check([str(own / "libllama.so.0")], [own])


def test_a_program_finds_its_libraries_beside_it_and_in_lib(tmp_path: Path) -> None:
    (tmp_path / "lib" / "x86_64-linux-gnu").mkdir(parents=True)
    folders = program_folders(tmp_path / "bin" / "llama-bench")
    assert {tmp_path / "bin", tmp_path / "lib", tmp_path / "lib" / "x86_64-linux-gnu"} <= set(folders)


def test_the_library_of_a_process_is_found_among_its_files() -> None:
    assert (
        llama_library(["/a/libllama.so.0.5.0", "/a/libllamafile.so", "/a/libggml.so"])
        == "/a/libllama.so.0.5.0"
    )
    assert llama_library(["/usr/lib/libc.so.6"]) == ""


def test_what_computes_is_all_that_is_mapped_but_the_interpreters_own(tmp_path: Path) -> None:
    ours = {
        str(tmp_path / name)
        for name in (
            "libllama.so.0",
            "libggml-cuda.so",
            "libcublas.so.12",
            "libgomp.so.1",
            "libc.so.6",
            "libjemalloc.so",
            "inject.so",
        )
    }
    others = (
        "libpython3.12.so.1.0",
        "libssl.so.3",
        "libffi.so.8",
        "libz.so.1",
        "_ctypes.cpython-312-x86_64-linux-gnu.so",
        "_cffi.abi3.so",
        "model.gguf",
    )
    theirs = {
        *(str(tmp_path / name) for name in others),
        str(tmp_path / "numpy.libs" / "libscipy_openblas64_.so"),
    }

    assert set(map(str, computing([*ours, *theirs]))) == ours
    assert computing(theirs | {str(tmp_path / "libc.so.6")}) == frozenset()  # none of llama.cpp's: not known
    assert names(computing(ours)) == "libggml-cuda, libllama"


def test_libraries_are_equal_by_their_content_alone(tmp_path: Path) -> None:
    def side(name: str, *contents: str) -> frozenset[Path]:
        folder = tmp_path / name
        folder.mkdir()
        for number, content in enumerate(contents):
            (folder / f"libllama-{number}.so").write_text(content, encoding="utf-8")
        return frozenset(folder.iterdir())

    one = side("one", "llama", "ggml")

    assert are_equal(one, one)
    assert are_equal(one, side("copy", "llama", "ggml"))
    assert are_equal(one, side("other names", "ggml", "llama"))
    assert not are_equal(one, side("a byte", "llamb", "ggml"))
    assert not are_equal(one, side("longer", "llama", "ggml "))
    assert not are_equal(one, side("fewer", "llama"))
    assert not are_equal(one, frozenset({tmp_path / "nowhere", tmp_path / "gone"}))


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    one, two = library(tmp_path / "one", "libllama.so"), library(tmp_path / "two", "libllama.so")
    assert are_equal(frozenset({one}), frozenset({two}))

    two.write_text("x", encoding="utf-8")
    one.write_text("y", encoding="utf-8")

    assert not are_equal(frozenset({one}), frozenset({two}))
