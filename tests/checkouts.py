"""A git repository that is to cmake what llama.cpp's is, and compiles in no time."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.waiting import pid_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(tiny LANGUAGES C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_custom_command(OUTPUT step.h COMMAND sh ${CMAKE_SOURCE_DIR}/step.sh DEPENDS llama.c VERBATIM)
add_library(llama SHARED llama.c step.h)
target_include_directories(llama PRIVATE ${CMAKE_BINARY_DIR})
add_executable(llama-bench bench.c)
target_link_libraries(llama-bench llama)
if (LLAMA_BUILD_TESTS)
    add_executable(test-backend-ops EXCLUDE_FROM_ALL bench.c)
    target_link_libraries(test-backend-ops llama)
endif()
configure_file(token_seconds ${CMAKE_BINARY_DIR}/bin/token_seconds COPYONLY)
"""
# Notes each compilation, and waits where it is told to.
_STEP = """
echo compiled >> "$TINY_FOLDER/compiles"
if [ -e "$TINY_FOLDER/hold" ]; then
    echo $$ > "$TINY_FOLDER/compiling.new" && mv "$TINY_FOLDER/compiling.new" "$TINY_FOLDER/compiling"
    while [ ! -e "$TINY_FOLDER/go" ]; do sleep 0.02; done
fi
echo > step.h
"""
_FILES = {
    "CMakeLists.txt": _CMAKE,
    "step.sh": _STEP,
    "llama.c": '#include "step.h"\nint llama(void) { return 0; }\n',
    "bench.c": "int llama(void);\nint main(void) { return llama(); }\n",
    "token_seconds": "0.0078125\n",
}


class Checkout:
    """The repository; each commit changes what it is given."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Make it, with one commit; ``folder`` is for what compilations tell, and are told."""
        self.path = path
        self._folder = folder
        path.mkdir(parents=True)
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=master")
        self.first = self.commit("tiny: begin", _FILES)

    def git(self, *words: str) -> str:
        """Return what git prints."""
        names = {f"GIT_{who}_{what}": "tiny" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        dates = {"GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
        own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(
            ["git", "-C", str(self.path), *words],
            env={**os.environ, **names, **dates, **own},
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        return done.stdout.strip()

    def commit(self, subject: str, files: Mapping[str, str]) -> str:
        """Write files and commit all; return the commit."""
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def seen(self) -> object:
        """Return what nobody may change: every file, its content, and when it changed."""
        paths = sorted(each for each in self.path.rglob("*") if each.is_file())
        return [(str(each), each.read_bytes(), each.stat().st_mtime_ns) for each in paths]

    def compiled(self) -> int:
        """Return how many compilations began."""
        path = self._folder / "compiles"
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0

    def hold(self) -> None:
        """From now on, compilations wait for :meth:`let_go`."""
        (self._folder / "hold").touch()

    def let_go(self) -> None:
        """Let compilations that wait go on, and those to come run through."""
        (self._folder / "go").touch()

    def compiling(self) -> int:
        """Wait until a compilation waits; return its process."""
        return pid_in(self._folder / "compiling")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkout]:
    """A checkout with one commit."""
    monkeypatch.setenv("TINY_FOLDER", str(tmp_path / "tiny"))
    found = Checkout(tmp_path / "llama.cpp", tmp_path / "tiny")
    yield found
    found.let_go()  # nothing that a failed test left behind waits for ever
