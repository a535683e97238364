"""llama.cpp at one commit, compiled by cmake and ninja; more of its programs can be made later.

The checkout itself stays as it is: its objects are read, the sources are checked out elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.builds import locks
from pytest_llm.builds.cmake import compiled_with, configure, first_line, step, version_of
from pytest_llm.builds.recipe import Made
from pytest_llm.builds.toolchain import find_cmake, get_tools
from pytest_llm.errors import BuildError
from pytest_llm.records import Build, Commit
from pytest_llm.system.program import Running, last_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.builds.identity import Identity
    from pytest_llm.builds.recipe import Order

PROGRAM = "llama-bench"
_BINARY = "build"
_TARGETS = ("llama", PROGRAM)
_LIBRARIES = ("libllama.so", "libllama.dylib")
# Tests are configured, and compiled when one is needed.
_OPTIONS = ("-DLLAMA_BUILD_TESTS=ON", "-DLLAMA_BUILD_SERVER=OFF")
# What a program needs to be configured for, and is not made with from the start.
_FOR_PROGRAM: Mapping[str, Sequence[str]] = {"llama-server": ("-DLLAMA_BUILD_SERVER=ON",)}
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
                code = self._configure(cmake, name, run)
                code = code or run([cmake, "--build", str(self.binary), "--target", name])
        except OSError as error:
            raise BuildError(f"{what} cannot be made: {error.strerror or error}") from None
        if code:
            raise _program_failure(run, name)
        path = self.binary / "bin" / name
        if not os.access(path, os.X_OK):
            raise BuildError(f"{what}: its target makes no program {path}")
        return path

    def _configure(self, cmake: str, name: str, run: Running) -> int:
        options = _FOR_PROGRAM.get(name, ())
        if not options or (self.binary / "bin" / name).exists():
            return 0
        return run([cmake, "-S", str(self.source), "-B", str(self.binary), *options])


class CheckedOutTree:
    """The recipe."""

    def program(self, folder: Path) -> Path:
        """Return its llama-bench."""
        return folder / _BINARY / "bin" / PROGRAM

    def is_whole(self, folder: Path) -> bool:
        """Return if the library and llama-bench are there."""
        programs = folder / _BINARY / "bin"
        return (programs / PROGRAM).is_file() and any((programs / each).is_file() for each in _LIBRARIES)

    def make(self, order: Order, folder: Path, run: Running) -> Made:
        assert isinstance(order.reference, Commit)
        return make_tree(order.identity, Path(order.reference.checkout), folder, run)


def tree_in(folder: Path, identity: Identity) -> SourceTree:
    return SourceTree(folder / "source", folder / _BINARY, identity.version)


def make_tree(identity: Identity, checkout: Path, folder: Path, run: Running) -> Made:
    """Compile the library and llama-bench in an empty folder; ``BuildError`` if it fails."""
    tree = tree_in(folder, identity)
    source = str(tree.source)
    clone = [*_QUIET_GIT, "clone", "--shared", "--no-checkout", "--template=", "--", str(checkout), source]
    step(run, "git clone", clone)
    step(run, "git checkout", [*_QUIET_GIT, "-C", source, "checkout", "--detach", identity.version])
    cmake, ninja = get_tools(folder, run)
    # Older commits have llama-bench among the examples.
    examples = "OFF" if (tree.source / "tools" / PROGRAM).is_dir() else "ON"
    options = [*_OPTIONS, f"-DLLAMA_BUILD_EXAMPLES={examples}", *identity.settings]
    step(run, "cmake", [cmake, *configure(tree.source, tree.binary, ninja), *options])
    step(run, "compiling", [cmake, "--build", str(tree.binary), "--target", *_TARGETS])
    if not CheckedOutTree().is_whole(folder):
        raise BuildError(
            f"{run.name} cannot be measured: {' or '.join(_LIBRARIES)} and {PROGRAM} are not both in "
            f"{tree.binary / 'bin'}: leave BUILD_SHARED_LIBS and the output folders at their defaults"
        )
    program = str(tree.binary / "bin" / PROGRAM)
    step(run, f"{PROGRAM} --help", [program, "--help"])
    version = first_line("git", "-C", source, "describe", "--tags", "--always", identity.version)
    made_with = compiled_with(tree.binary, identity.settings)
    description = Build("llama.cpp", version, identity.version[:12], program, made_with)
    return Made(version_of(cmake), description)


def _program_failure(run: Running, name: str) -> BuildError:
    text = run.tail()
    if f"unknown target '{name}'" in text:
        return BuildError(f"{run.name} cannot be made: this commit has no target of that name")
    return BuildError(
        f"{run.name} could not be made in {run.seconds:.0f} s: see the last lines, and {run.log}",
        last_lines(text),
    )
