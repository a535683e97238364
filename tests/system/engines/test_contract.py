"""The contract suite on the real engine, and on copies of its binding that are wrong."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = "pytest_llm.suite.contract"


def contract(*arguments: str) -> tuple[int, str]:
    """Run the suite in a process of its own; return its exit status and what it wrote."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-rfE",
        "--pyargs",
        SUITE,
        *arguments,
    ]
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", env=kept, check=False
    )
    return done.returncode, done.stdout


def test_the_installed_build_keeps_the_contract() -> None:
    status, output = contract()
    assert status == 0, output
    assert "llm contract: llama-cpp-python " in output
    assert "layouts of structs" not in output  # its headers are there, and a compiler is


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the installed binding, with the same library and headers, in an environment of its own."""
    found = importlib.util.find_spec("llama_cpp")
    assert found is not None
    assert found.origin is not None
    original = Path(found.origin).parent
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    shutil.copytree(original, packages / "llama_cpp", ignore=shutil.ignore_patterns("lib", "__pycache__"))
    (packages / "llama_cpp" / "lib").symlink_to(original / "lib")
    (packages / "include").symlink_to(original.parent / "include")
    (packages / "others.pth").write_text(f"{original.parent}\n", encoding="utf-8")
    return packages / "llama_cpp" / "llama_cpp.py"


def test_a_field_inserted_in_the_middle_of_a_struct_is_told_by_name(copied: Path) -> None:
    text, field = copied.read_text(encoding="utf-8"), '("n_threads_batch", ctypes.c_int32),'
    assert text.count(field) == 1
    copied.write_text(text.replace(field, f'("n_made_up", ctypes.c_uint32), {field}'), encoding="utf-8")
    status, output = contract(candidate(copied), "-k", "context_params")
    assert status == 1
    assert "llama_context_params.n_made_up: the headers have no such field" in output
    assert re.search(r"llama_context_params\.n_threads_batch lies at byte \d+, in the headers at \d+", output)
    assert "its layout may not be the library's" in output


def test_a_function_that_only_the_binding_has_is_told_by_name(copied: Path) -> None:
    with copied.open("a", encoding="utf-8") as file:
        file.write('\n\n@ctypes_function("llama_made_up", [], None)\ndef llama_made_up(): ...\n')
    status, output = contract(candidate(copied), "-k", "declared or imports")
    assert status == 1
    assert "lacks 1: llama_made_up" in output
    assert "AttributeError: " in output


def candidate(binding: Path) -> str:
    """The option that names the environment of a copy."""
    return f"--llm-candidate=venv:{binding.parents[4]}"
