"""Source packages of a stand-in for llama-cpp-python, which the real uv builds."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from tests import STAND_IN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RELEASES = ("9.0.1", "9.0.2", "9.0.3")

_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


# A binding that is compiled by CMake: what has its version, and a server in the same project.
COMPILED = "9.0.4"
_CMAKE = """
cmake_minimum_required(VERSION 3.16)
project(llama_cpp C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_library(ggml SHARED ggml.c)
if(LLAMA_BUILD_SERVER)
  add_executable(llama-server server.c)
  target_compile_definitions(llama-server PRIVATE COMMIT="${LLAMA_BUILD_COMMIT}")
  target_link_libraries(llama-server ggml)
endif()
"""
_GGML = "int ggml_answer(void) { return 42; }\n"
_SERVER = """
#include <stdio.h>
#include <string.h>
int ggml_answer(void);
int main(int count, char **words) {
    if (count > 1 && !strcmp(words[1], "--help"))
        puts("-m X\\n-c X\\n-b X\\n-ub X\\n-np X\\n-t X\\n-tb X\\n-ngl X\\n--host X\\n--port X");
    else
        printf("version: 0.5.0 (build %d, commit %s)\\n", ggml_answer() - 42, COMMIT);
    return 0;
}
"""


def write_compiled(folder: Path) -> None:
    """Write an archive of the release that CMake compiles."""
    changes = "feat: Update llama.cpp to ggml-org/llama.cpp@0c1e57098f3a\n"
    sources = {"CMakeLists.txt": _CMAKE, "ggml.c": _GGML, "server.c": _SERVER, "CHANGELOG.md": changes}
    _write(folder, COMPILED, sources)


def write_index(folder: Path) -> None:
    """Write an archive of each release, for ``UV_FIND_LINKS``; 9.0.3 does not compile."""
    for version in RELEASES:
        _write(folder, version, {})


def _write(folder: Path, version: str, sources: Mapping[str, str]) -> None:
    name = f"llama_cpp_python-{version}"
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        for path in (*STAND_IN.glob("llama_cpp/*.py"), *STAND_IN.glob("*.py")):
            archive.add(path, f"{name}/{path.relative_to(STAND_IN)}")
        archive.add(STAND_IN / "release" / "backend.py", f"{name}/backend.py")
        metadata = f"Metadata-Version: 2.2\nName: llama-cpp-python\nVersion: {version}\n"
        for file, text in {"pyproject.toml": _PYPROJECT, "PKG-INFO": metadata, **sources}.items():
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
