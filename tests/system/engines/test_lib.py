"""``lib:PATH``: a library in the place of the binding's own, refused where it does not fit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import describe
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import BuildError
from pytest_llm.records import LoadOptions, Subject
from tests.started import started_with
from tests.tiny_models import llama

from .conftest import PATIENCE

if TYPE_CHECKING:
    from pytest_llm.records import Build, Model

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="links libraries as Linux does")

OWN = "import json, llama_cpp; print(json.dumps(llama_cpp.llama_cpp._lib._name))"
SIZE = "import ctypes, llama_cpp; print(ctypes.sizeof(llama_cpp.llama_context_params))"

# All of the binding's own library, but for the context's defaults.
SHIFTED = """
#include <dlfcn.h>
#include <string.h>
struct own { char bytes[SIZE]; };
struct changed { char bytes[SIZE + 8 * LONGER]; };
struct changed llama_context_default_params(void) {
    void *library = dlopen(OWN, RTLD_LAZY);
    struct own (*real)(void) = (struct own (*)(void))dlsym(library, "llama_context_default_params");
    struct own before = real();
    struct changed after;
    memset(&after, 0, sizeof after);
    memcpy(after.bytes, before.bytes, SIZE);
    if (MOVED) {
        memset(after.bytes + 4, 0, 4);
        memcpy(after.bytes + 8, before.bytes + 4, SIZE - 8);
    }
    return after;
}
"""


def asked(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def own() -> Path:
    return Path(json.loads(asked(OWN)))


def say(folder: Path) -> Build:
    return describe(parse_build(f"lib:{folder}", Path.cwd()), PATIENCE)


def compiled(source: str, folder: Path, own: Path | None, **defines: Any) -> Path:
    (folder / "library.c").write_text(source, encoding="utf-8")
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", "libllama.so", "library.c", "-ldl"]
    command += [f"-D{name}={value}" for name, value in defines.items()]
    if own is not None:
        command += ["-Wl,--no-as-needed", str(own), f"-Wl,-rpath,{own.parent}"]
    subprocess.run(command, cwd=folder, check=True)
    return folder


def shifted(folder: Path, own: Path, *, moved: int, longer: int) -> Path:
    name = f'"{own}"'
    return compiled(SHIFTED, folder, own, SIZE=asked(SIZE), MOVED=moved, LONGER=longer, OWN=name)


def test_the_binding_s_own_library_fits(own: Path) -> None:
    said = say(own.parent)

    assert said.library == str(own)
    assert said.llama_cpp_commit


def test_a_copy_elsewhere_is_the_one_that_is_loaded(own: Path, tmp_path: Path) -> None:
    shutil.copytree(own.parent, tmp_path / "lib", symlinks=True)

    assert say(tmp_path / "lib").compiled_with


@LINUX
def test_a_pair_with_a_library_of_its_own_on_one_side_starts_alike(
    own: Path, tmp_path: Path, smollm2: Model
) -> None:
    shutil.copytree(own.parent, tmp_path / "lib", symlinks=True)
    references = [parse_build(each, Path.cwd()) for each in ("llama-cpp-python", f"lib:{tmp_path / 'lib'}")]
    subject = Subject("m", references[0], LoadOptions())
    plain, other = (LlamaCppPython(each, PATIENCE).start(subject, smollm2) for each in references)
    try:
        ours, theirs = started_with(plain.pid), started_with(other.pid)
    finally:
        plain.close()
        other.close()
    assert ours[1:] == theirs[1:]
    assert ours.variables.keys() == theirs.variables.keys()
    assert not [name for name, value in theirs.variables.items() if str(tmp_path / "lib") in value]


@LINUX
def test_a_copy_is_no_other_build_until_a_byte_differs(
    own: Path, tmp_path: Path, pytester: pytest.Pytester
) -> None:
    llama(pytester.path / "tiny.gguf")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.llm_model("tiny.gguf", n_ctx=256, n_threads=1)
        @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
        @pytest.mark.llm_no_regression("load_time", tolerance="90%")
        def test_speed(llm_bench): pass
        """
    )
    shutil.copytree(own.parent, tmp_path / "lib", symlinks=True)
    arguments = ("--llm-bench", "--llm-effort=quick", f"--llm-against=lib:{tmp_path / 'lib'}")

    refused = pytester.runpytest_subprocess(*arguments)
    assert refused.ret == pytest.ExitCode.TESTS_FAILED
    refused.stdout.fnmatch_lines(
        ["*are the same build: the libraries that they loaded are equal (*libllama)*"]
    )
    for path in (tmp_path / "lib").glob("libggml-base*"):
        with path.open("ab") as library:
            library.write(b"x")
    compared = pytester.runpytest_subprocess(*arguments, "--llm-inconclusive=warn")
    compared.stdout.no_fnmatch_line("*are the same build*")
    compared.assert_outcomes(passed=1)


@LINUX
@pytest.mark.parametrize("variable", ["LLAMA_CPP_LIB_PATH", "LD_LIBRARY_PATH"])
@pytest.mark.parametrize("build", ["llama-cpp-python", f"venv:{sys.prefix}", "lib:{own}"])
def test_a_variable_does_not_replace_the_library_of_a_build(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: str, variable: str
) -> None:
    build = build.format(own=own.parent)
    shutil.copytree(own.parent, tmp_path / "lib", symlinks=True)
    monkeypatch.setenv(variable, str(tmp_path / "lib"))
    if build.startswith("lib:") and variable == "LLAMA_CPP_LIB_PATH":
        assert describe(parse_build(build, Path.cwd()), PATIENCE).library == str(own)
        return

    with pytest.raises(BuildError) as caught:
        describe(parse_build(build, Path.cwd()), PATIENCE)

    assert re.search(
        rf"{variable}={tmp_path}/lib loads {tmp_path}/lib/lib\S+ instead of {own.parent}/lib\S+: "
        rf"unset {variable}, or name the library's own build, lib:{tmp_path}/lib",
        str(caught.value),
    )


@LINUX
def test_a_backend_that_a_variable_adds_is_refused(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = shutil.copy(own.parent / "libggml-base.so", tmp_path / "libggml-moon.so")
    monkeypatch.setenv("LD_PRELOAD", str(backend))

    with pytest.raises(BuildError, match=f"LD_PRELOAD={backend} loads {backend} which is no part of it"):
        describe(parse_build("llama-cpp-python", Path.cwd()), PATIENCE)


@LINUX
def test_a_library_that_defines_the_same_fits(own: Path, tmp_path: Path) -> None:
    assert say(shifted(tmp_path, own, moved=0, longer=0)).compiled_with


@LINUX
def test_a_missing_symbol_is_named(tmp_path: Path) -> None:
    folder = compiled("int llama_max_devices(void) { return 1; }", tmp_path, None)

    with pytest.raises(BuildError, match=r"undefined symbol: llama_\w+.*give a library of the installed"):
        say(folder)


@LINUX
def test_a_field_that_moved_is_named_with_what_is_read_of_it(own: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        say(shifted(tmp_path, own, moved=1, longer=0))

    assert "the binding reads n_batch = 0 from its llama_context_default_params, and 2048" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


@LINUX
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="elsewhere the calling convention hides sizes")
def test_a_struct_that_grew_at_its_end_is_seen(own: Path, tmp_path: Path) -> None:
    size = int(asked(SIZE))
    with pytest.raises(
        BuildError, match=f"writes {size + 8} bytes, that of the binding's own library {size}"
    ):
        say(shifted(tmp_path, own, moved=0, longer=1))


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "libllama.so").write_text("no library", encoding="utf-8")
    with pytest.raises(BuildError, match=r"libllama\.so"):
        say(tmp_path)
