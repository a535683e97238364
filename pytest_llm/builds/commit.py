"""llama.cpp at one commit, compiled by cmake and ninja; more of its programs can be made later.

The checkout itself stays as it is: its objects are read, the sources are checked out elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.builds import locks
from pytest_llm.builds.toolchain import find_cmake, get_tools
from pytest_llm.errors import BuildError
from pytest_llm.records import Build
from pytest_llm.system.build_environment import building
from pytest_llm.system.program import Running, last_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_llm.builds.identity import Identity

PROGRAM = "llama-bench"
_TARGETS = ("llama", PROGRAM)
_LIBRARIES = ("libllama.so", "libllama.dylib")
# These skip targets, under every name that they have had: cmake ignores unknown ones.
# Tests are configured, and compiled when one is needed.
_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DLLAMA_BUILD_COMMON=ON",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_TESTS=ON",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_BUILD_WEBUI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
_QUIET_GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")


@dataclass(frozen=True)
class SourceTree:
    """llama.cpp's sources at one commit, and CMake's build folder, with programs and libraries in ``bin``."""

    source: Path
    binary: Path
    commit: str

    def program(self, name: str, on_progress: Callable[[str], None]) -> Path:
        """Return a program, which is a target of CMake; compiled first unless it is up to date.

        Raises:
            BuildError: llama.cpp has no such program at this commit, or it could not be made.
        """
        what = f"{name} of llama.cpp {self.commit[:12]}"
        beside = self.source.parent
        try:
            with locks.exclusive(beside / "programs.lock", what, on_progress) as lock:
                cmake = find_cmake(beside)
                run = Running(what, beside / f"{name}.log", lock, on_progress)
                code = run([cmake, "--build", str(self.binary), "--target", name])
        except OSError as error:
            raise BuildError(f"{what} cannot be made: {error.strerror or error}") from None
        if code:
            raise _program_failure(run, name)
        path = self.binary / "bin" / name
        if not os.access(path, os.X_OK):
            raise BuildError(f"{what}: its target makes no program {path}")
        return path


class Compiled(NamedTuple):
    """A build as it describes itself, and what made it: "cmake 3.25.1"."""

    description: Build
    tools: str


def tree_in(folder: Path, identity: Identity) -> SourceTree:
    return SourceTree(folder / "source", folder / "build", identity.version)


def is_whole(tree: SourceTree) -> bool:
    """Return if the library and llama-bench are there."""
    programs = tree.binary / "bin"
    return (programs / PROGRAM).is_file() and any((programs / each).is_file() for each in _LIBRARIES)


def make_tree(identity: Identity, checkout: Path, folder: Path, run: Running) -> Compiled:
    """Compile the library and llama-bench in an empty folder; ``BuildError`` if it fails."""
    tree = tree_in(folder, identity)
    source = str(tree.source)
    clone = [*_QUIET_GIT, "clone", "--shared", "--no-checkout", "--template=", "--", str(checkout), source]
    _step(run, "git clone", clone)
    _step(run, "git checkout", [*_QUIET_GIT, "-C", source, "checkout", "--detach", identity.version])
    cmake, ninja = get_tools(folder, run)
    _step(run, "cmake", [cmake, *_arguments(tree, ninja), *identity.settings])
    _step(run, "compiling", [cmake, "--build", str(tree.binary), "--target", *_TARGETS])
    if not is_whole(tree):
        raise BuildError(
            f"{run.name} cannot be measured: {' or '.join(_LIBRARIES)} and {PROGRAM} are not both in "
            f"{tree.binary / 'bin'}: leave BUILD_SHARED_LIBS and the output folders at their defaults"
        )
    program = str(tree.binary / "bin" / PROGRAM)
    _step(run, f"{PROGRAM} --help", [program, "--help"])
    version = _first_line("git", "-C", source, "describe", "--tags", "--always", identity.version)
    made_with = _compiled_with(tree, identity)
    description = Build("llama.cpp", version, identity.version[:12], program, made_with)
    return Compiled(description, _first_line(cmake, "--version").replace(" version", ""))


def _arguments(tree: SourceTree, ninja: str) -> list[str]:
    # Older commits have llama-bench among the examples.
    examples = "OFF" if (tree.source / "tools" / PROGRAM).is_dir() else "ON"
    programs = tree.binary / "bin"
    return [
        *("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", "-S", str(tree.source), "-B", str(tree.binary)),
        f"-DCMAKE_RUNTIME_OUTPUT_DIRECTORY={programs}",
        f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={programs}",
        *_OPTIONS,
        f"-DLLAMA_BUILD_EXAMPLES={examples}",
    ]


def _step(run: Running, what: str, command: list[str]) -> None:
    code = run(command)
    if code:
        raise BuildError(
            f"{run.name} could not be made in {run.seconds:.0f} s ({what}, exit status {code}): see the "
            f"last lines, and {run.log}",
            last_lines(run.tail()),
        )


def _program_failure(run: Running, name: str) -> BuildError:
    text = run.tail()
    if f"unknown target '{name}'" in text:
        return BuildError(f"{run.name} cannot be made: this commit has no target of that name")
    return BuildError(
        f"{run.name} could not be made in {run.seconds:.0f} s: see the last lines, and {run.log}",
        last_lines(text),
    )


def _compiled_with(tree: SourceTree, identity: Identity) -> str:
    """Return the compiler and the settings: "GNU 12.2.0, -DGGML_NATIVE=OFF"."""
    found = {}
    for path in tree.binary.glob("CMakeFiles/*/CMakeCXXCompiler.cmake"):
        found = dict(re.findall(r'^set\((\w+) "(.*)"\)$', path.read_text(encoding="utf-8"), re.MULTILINE))
    words = [found.get(f"CMAKE_CXX_COMPILER_{each}", "") for each in ("ID", "VERSION")]
    return ", ".join(each for each in (" ".join(words).strip(), *identity.settings) if each)


def _first_line(*command: str) -> str:
    environment = building(os.environ)
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    return (done.stdout.splitlines() or [""])[0].strip()
