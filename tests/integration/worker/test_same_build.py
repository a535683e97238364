"""Two builds that are one, found from what real processes have mapped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.system.procfs import mapped_files
from tests import STAND_IN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Project

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="what is mapped is read from /proc"
)
TEST = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression()
    def test_speed(llm_bench): pass
"""
SAME = "are the same build: the libraries that they loaded are equal ("


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., str]:
    """Make an environment in which the stand-in maps a copy of the C library, with padding."""
    real = next(each for each in sorted(mapped_files(os.getpid())) if Path(each).name.startswith("libc."))

    def make(name: str, padding: bytes = b"") -> str:
        folder = tmp_path / name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        library = packages / "libllama.so"
        shutil.copy(real, library)
        with library.open("ab") as file:
            file.write(padding)
        start = f"import ctypes; ctypes.CDLL({str(library)!r})\n{STAND_IN}\n"
        start += "import virtual_clock; virtual_clock.install()\n"
        (packages / "stand_in.pth").write_text(start, encoding="utf-8")
        return f"llama-cpp-python@venv:{folder}"

    return make


@pytest.mark.slow
def test_copies_of_an_environment_are_one_build(project: Project, environment: Callable[..., str]) -> None:
    project.write(TEST)
    sides = [f"--llm-candidate={environment('one')}", f"--llm-against={environment('two')}"]

    (text,) = project.failures(*sides).values()
    assert f" {SAME}libllama)" in text
    project.measure(*sides, "--llm-aa").assert_outcomes(passed=1)


@pytest.mark.slow
def test_one_byte_makes_two_builds(project: Project, environment: Callable[..., str]) -> None:
    project.write(TEST)
    sides = [f"--llm-candidate={environment('one')}", f"--llm-against={environment('two', b'x')}"]

    project.measure(*sides).assert_outcomes(passed=1)


def test_copies_of_a_program_are_one_build(project: Project, bench_program: Callable[..., Path]) -> None:
    project.write(TEST.replace("(llm_bench)", "()"))
    one = bench_program()
    two = one.with_name("copy")
    shutil.copy(one, two)

    sides = [f"--llm-candidate=llama-bench@bin:{one}", f"--llm-against=llama-bench@bin:{two}"]
    result = project.run("--llm-bench", f"--llm-model={project.model}", "--llm-effort=quick", *sides)

    (text,) = project.texts(result).values()
    assert f" {SAME}llama-bench)" in text
