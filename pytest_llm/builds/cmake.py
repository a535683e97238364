"""llama.cpp configured and compiled by cmake and ninja."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from pytest_llm.errors import BuildError
from pytest_llm.system.build_environment import building
from pytest_llm.system.program import Running, last_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# These skip targets, under every name that they have had: cmake ignores unknown ones.
_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DLLAMA_BUILD_COMMON=ON",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_BUILD_WEBUI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
)


def configure(source: Path, binary: Path, ninja: str) -> list[str]:
    """Return cmake's arguments for a build folder with programs and libraries in ``bin``."""
    programs = binary / "bin"
    return [
        *("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", "-S", str(source), "-B", str(binary)),
        f"-DCMAKE_RUNTIME_OUTPUT_DIRECTORY={programs}",
        f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={programs}",
        *_OPTIONS,
    ]


def step(run: Running, what: str, command: list[str]) -> None:
    """Run one command of making a build.

    Raises:
        BuildError: It failed.
    """
    code = run(command)
    if code:
        raise failure(run, what, code)


def failure(run: Running, what: str, code: int) -> BuildError:
    """Return the error of a command that ended with an exit status."""
    return BuildError(
        f"{run.name} could not be made in {run.seconds:.0f} s ({what}, exit status {code}): see the "
        f"last lines, and {run.log}",
        last_lines(run.tail()),
    )


def compiled_with(binary: Path, settings: Sequence[str]) -> str:
    """Return the compiler and the settings: "GNU 12.2.0, -DGGML_NATIVE=OFF"."""
    found = {}
    for path in binary.glob("CMakeFiles/*/CMakeCXXCompiler.cmake"):
        found = dict(re.findall(r'^set\((\w+) "(.*)"\)$', path.read_text(encoding="utf-8"), re.MULTILINE))
    words = [found.get(f"CMAKE_CXX_COMPILER_{each}", "") for each in ("ID", "VERSION")]
    return ", ".join(each for each in (" ".join(words).strip(), *settings) if each)


def version_of(cmake: str) -> str:
    """Return "cmake 3.25.1"."""
    return first_line(cmake, "--version").replace(" version", "")


def first_line(*command: str) -> str:
    """Return the first line that a program prints."""
    environment = building(os.environ)
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    return (done.stdout.splitlines() or [""])[0].strip()
