"""``pytest --pyargs pytest_llm.suite.contract`` says what a build lacks, by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project, StandIn

SUITE = ("--pyargs", "pytest_llm.suite.contract", "-p", "no:cacheprovider")
BUILDING = "symbols or structs or import"


def contract(project: Project, *arguments: object, candidate: str = "") -> pytest.RunResult:
    """Run the suite on the stand-in, or on another build."""
    options = (f"--llm-candidate={candidate or project.candidate}", f"--llm-model={project.model}")
    return project.run(*SUITE, *options, *arguments)


def summary(result: pytest.RunResult) -> list[str]:
    """The lines that the suite writes at the end."""
    start = next(index for index, line in enumerate(result.outlines) if "= llm contract: " in line)
    lines = [result.outlines[start].strip("= "), *result.outlines[start + 1 :]]
    end = next(index for index, line in enumerate(lines) if line.startswith("="))
    return lines[:end]


# --- Releases -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_build_that_keeps_it_passes_and_what_cannot_be_looked_at_is_listed(project: Project) -> None:
    result = contract(project)

    assert result.ret == pytest.ExitCode.OK, project.texts(result)
    lines = summary(result)
    assert lines[:2] == ["llm contract: llama-cpp-python 0.0.1 (llama.cpp 57a9d1234)", "not covered:"]
    assert any("log-probabilities need numpy" in line for line in lines)
    assert any(
        line.startswith("  layouts of structs: the build has no llama.h, looked for in ") for line in lines
    )
    assert any(line.startswith("  functions of llama_cpp: ") for line in lines)
    assert not any("=" in line for line in lines)  # every load option is accepted


OLD_OPTIONS = {"load_mode=direct_io", "flash_attn=auto"}
OLDER_OPTIONS = {*OLD_OPTIONS, "use_extra_bufts=False", "op_offload=False", "swa_full=False"}
SHARED = "this release of llama-cpp-python has no kv_unified=False"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("era", "older", "refused", "lost"),
    [
        ("0.3.16", set(), OLD_OPTIONS, set()),
        (
            "0.3.9",
            {"llama_kv_self_clear for llama_memory_clear", "llama_kv_self_seq_rm for llama_memory_seq_rm"},
            {*OLDER_OPTIONS, "kv_unified=False", "n_seq_max=2"},
            {"llama_memory_seq_pos_min"},
        ),
        (
            "0.3.5",
            {
                "llama_load_model_from_file for llama_model_load_from_file",
                "llama_new_context_with_model for llama_init_from_model",
                "llama_n_vocab for llama_vocab_n_tokens",
                "llama_token_is_eog for llama_vocab_is_eog",
                "llama_kv_cache_clear for llama_memory_clear",
                "llama_kv_cache_seq_pos_max for llama_memory_seq_pos_max",
            },
            {*OLDER_OPTIONS, "kv_unified=False", "n_seq_max=2"},
            {
                "llama_chat_apply_template",
                "llama_model_chat_template",
                "ggml_commit",
                "llama_memory_seq_pos_min",
            },
        ),
    ],
)
def test_an_older_release_is_served_and_what_it_lacks_is_told_by_name(
    era: str, older: set[str], refused: set[str], lost: set[str], project: Project, stand_in: StandIn
) -> None:
    stand_in.set(era=era)

    result = contract(project)

    assert result.ret == pytest.ExitCode.OK, project.texts(result)
    lines = summary(result)
    names = {each for line in lines for each in line.removeprefix("under older names: ").split(", ")}
    assert older <= names
    told = {line.strip().partition(": ")[0] for line in lines}
    assert {each for each in told if "=" in each} == refused
    always = {
        "llama_set_n_threads",
        *(f"llama_state_seq_{each}" for each in ("get_size", "get_data", "set_data")),
    }
    assert {
        line.rpartition("the build has no ")[2] for line in lines if "the build has no llama_" in line
    } | {"ggml_commit" for line in lines if line.endswith("no ggml_commit")} == always | lost
    assert any(SHARED in line for line in lines) == ("kv_unified=False" in refused)


def test_the_suite_needs_no_llm_bench_and_measures_nothing(project: Project) -> None:
    result = contract(project, "-k", "n_threads")

    outcomes = result.parseoutcomes()
    # Of one more of that name, the stand-in lacks the function.
    assert {each: outcomes[each] for each in outcomes if each != "deselected"} == {"passed": 4, "skipped": 1}
    assert "llm-bench plan" not in result.stdout.str()


# --- Where it cannot run --------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_llama_cpp_python_one_test_says_how_to_get_it(project: Project, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")], check=True)

    result = contract(project, candidate=f"venv:{tmp_path / 'empty'}")

    ((test, text),) = project.texts(result).items()
    assert test == "test_llama_cpp_imports"
    assert text == (
        f"llama-cpp-python@venv:{tmp_path}/empty: ModuleNotFoundError: No module named 'llama_cpp' "
        f"({tmp_path}/empty/bin/python -m pip install llama-cpp-python)"
    )
    assert result.parseoutcomes()["skipped"] > 50


def test_without_the_plugin_it_is_refused_in_one_line(project: Project) -> None:
    result = project.run(*SUITE, "-p", "no:llm_bench")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.outlines + result.errlines if "ERROR" in line] == [
        "ERROR: pytest_llm.suite.contract needs the plugin of pytest-llm-bench: leave out -p no:llm_bench"
    ]


def test_a_build_that_dies_is_told_by_each_test_that_needs_it(project: Project, stand_in: StandIn) -> None:
    stand_in.set(fault="load=SIGSEGV")

    texts = project.texts(contract(project, "-k", "n_ctx or n_batch"))

    assert len(texts) == 2
    assert all("ended while loading the model: SIGSEGV" in text for text in texts.values())


def test_an_option_that_llama_cpp_refuses_fails_with_its_last_line(
    project: Project, stand_in: StandIn
) -> None:
    stand_in.set(fault="context=refuse")

    (text,) = project.texts(contract(project, "-k", "n_ctx")).values()

    assert text.startswith("n_ctx=512: ")
    assert text.endswith("| llama_init_from_model: failed to initialize the context")


# --- Bindings that fit their library, and others ---------------------------------------------------------

HEADER = """
#include <stdbool.h>
#include <stdint.h>
struct llama_context_params {
    uint32_t n_ctx;  // text context
    uint32_t n_batch;
    int32_t  n_threads;
    float    rope_freq_base;
    float    rope_freq_scale;
    float    yarn_ext_factor;
};
struct llama_context_params llama_context_default_params(void);
int32_t llama_max_devices(void);
"""
LIBRARY = """
#include "llama.h"
struct llama_context_params llama_context_default_params(void) {
    struct llama_context_params params = {512, 2048, 4, 0.0f, 0.0f, -1.0f};
    return params;
}
int32_t llama_max_devices(void) { return 1; }
"""
BINDING = """
import ctypes, os, pathlib

_lib = ctypes.CDLL(str(pathlib.Path(__file__).parent / "lib" / "libllama.so"))
_lib.llama_max_devices.restype = ctypes.c_int32


def ctypes_function(name, argtypes, restype):
    def decorator(f):
        function = getattr(_lib, name)
        function.argtypes, function.restype = argtypes, restype
        return function

    return decorator


class llama_context_params(ctypes.Structure):
    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_threads", ctypes.c_int32),
        ("rope_freq_base", ctypes.c_float),
        ("rope_freq_scale", ctypes.c_float),
        ("yarn_ext_factor", ctypes.c_float),
    ]


@ctypes_function("llama_context_default_params", [], llama_context_params)
def llama_context_default_params(): ...
"""
needs_compiler = pytest.mark.skipif(
    not shutil.which("cc"), reason="there is no C compiler to build a library with"
)


class Binding:
    """A build of very little: a library of two functions, its header, and a binding."""

    def __init__(self, folder: Path) -> None:
        packages = self._environment(folder)
        self.module = packages / "llama_cpp" / "llama_cpp.py"
        self.header = packages / "include" / "llama.h"
        for path, text in ((self.module, BINDING), (self.header, HEADER), (folder / "llama.c", LIBRARY)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (self.module.parent / "__init__.py").write_text("from .llama_cpp import *\n", encoding="utf-8")
        library = self.module.parent / "lib" / "libllama.so"
        library.parent.mkdir()
        command = ["cc", "-shared", "-fPIC", f"-I{self.header.parent}", "-o", library, folder / "llama.c"]
        subprocess.run([str(each) for each in command], check=True)
        self.candidate = f"venv:{folder / 'environment'}"

    @staticmethod
    def _environment(folder: Path) -> Path:
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
        (packages,) = environment.glob("lib/python*/site-packages")
        return packages

    @staticmethod
    def change(path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def binding(tmp_path: Path) -> Binding:
    return Binding(tmp_path)


@needs_compiler
def test_a_binding_that_fits_its_library_and_headers_passes(project: Project, binding: Binding) -> None:
    with binding.module.open("a", encoding="utf-8") as file:
        file.write("\ndef folder_of(_lib):\n    return _lib.parent.resolve()  # a path, as in 0.3.0\n")

    result = contract(project, "-k", "declared or context_params or other", candidate=binding.candidate)

    assert result.parseoutcomes()["passed"] == 4
    assert project.texts(result) == {}
    assert summary(result)[1:] == [
        "not covered:",
        "  functions of mtmd_cpp: this release of llama-cpp-python has no module mtmd_cpp",
    ]


@pytest.mark.slow
@needs_compiler
def test_functions_that_the_library_lacks_are_all_told_and_why_the_import_fails(
    project: Project, binding: Binding
) -> None:
    for name in ("llama_not_there", "llama_not_there_either"):
        with binding.module.open("a", encoding="utf-8") as file:
            file.write(f'\n@ctypes_function("{name}", [], None)\ndef {name}(): ...\n')

    texts = project.texts(contract(project, "-k", BUILDING, candidate=binding.candidate))

    assert texts.keys() == {
        "test_llama_cpp_imports",
        "test_the_library_has_every_function_that_is_declared[llama_cpp]",
    }
    imports, symbols = texts.values()
    assert "AttributeError: " in imports
    assert "undefined symbol: llama_not_there" in imports
    assert imports.endswith("a function that its library lacks: they are of two releases")
    assert "llama_cpp.py declares 4 functions" in symbols
    assert "lacks 2: llama_not_there, llama_not_there_either\n" in symbols


@needs_compiler
def test_a_field_too_many_is_told_by_name_and_so_is_what_it_does_to_the_defaults(
    project: Project, binding: Binding
) -> None:
    binding.change(
        binding.module,
        '("n_threads", ctypes.c_int32)',
        '("n_outputs_max_per_seq", ctypes.c_uint32), ("n_threads", ctypes.c_int32)',
    )

    texts = project.texts(contract(project, "-k", "context_params", candidate=binding.candidate))

    assert texts["test_a_struct_is_laid_out_as_in_the_headers[llama_context_params]"].splitlines() == [
        "llama_context_params.n_outputs_max_per_seq: the headers have no such field",
        "llama_context_params.n_threads lies at byte 12, in the headers at 8; 3 behind it lie elsewhere, too",
        "llama_context_params takes 28 bytes, in the headers 24",
    ]
    defaults = texts["test_defaults_make_sense[llama_context_params]"]
    assert "n_threads is 0, expected 4; rope_freq_scale is -1, expected 0; " in defaults
    assert defaults.endswith("its layout may not be the library's")


@needs_compiler
def test_a_field_too_few_is_told_by_name(project: Project, binding: Binding) -> None:
    binding.change(
        binding.header, "    int32_t  n_threads;", "    uint32_t n_outputs_max;\n    int32_t  n_threads;"
    )

    (text,) = project.texts(contract(project, "-k", "laid_out", candidate=binding.candidate)).values()

    assert text.splitlines()[0] == (
        "llama_context_params.n_outputs_max: the binding lacks it, the headers have it after n_batch"
    )


@needs_compiler
def test_headers_that_do_not_compile_are_a_reason_not_a_failure(project: Project, binding: Binding) -> None:
    binding.change(binding.header, "uint32_t n_batch;", "no_such_type n_batch;")

    result = contract(project, "-k", "laid_out", candidate=binding.candidate)

    assert project.texts(result) == {}
    (line,) = summary(result)[2:]
    assert line.startswith("  layouts of structs: the headers do not compile: ")
    assert "no_such_type" in line
