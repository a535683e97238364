"""A build's sources and what was compiled of them, kept so that more of its programs can be made later."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.builds import locks
from pytest_llm.builds.toolchain import find_cmake
from pytest_llm.errors import BuildError
from pytest_llm.system.program import Running, last_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class SourceTree:
    """llama.cpp's sources at one commit, and CMake's folder of what is compiled of them.

    Attributes:
        source: Where the sources lie.
        binary: CMake's folder: programs and libraries are in its ``bin``.
        commit: In full.
    """

    source: Path
    binary: Path
    commit: str

    def program(self, name: str, on_progress: Callable[[str], None]) -> Path:
        """Return one of llama.cpp's programs, made first if it is not there or not as its sources are.

        Whoever makes one is alone with the tree; what the programs share is compiled once.

        Args:
            name: CMake's target: "test-backend-ops".
            on_progress: Is given a line when there is something to wait for, and now and then.

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
            raise _failure(run, name)
        path = self.binary / "bin" / name
        if not os.access(path, os.X_OK):
            raise BuildError(f"{what}: the target was made, and is no program: there is no {path}")
        return path


def _failure(run: Running, name: str) -> BuildError:
    text = run.tail()
    if f"unknown target '{name}'" in text:
        return BuildError(f"{run.name} cannot be made: this commit has no target of that name")
    return BuildError(
        f"{run.name} could not be made in {run.seconds:.0f} s: its last lines say why, and all of them are "
        f"in {run.log}",
        last_lines(text),
    )
