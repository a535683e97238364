"""Libraries of llama.cpp that a process has mapped, against those of the build that was named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_NAME = re.compile(r"(?P<stem>lib(?:llama|ggml|mtmd)[\w+-]*)\.(?:so|dylib)(?:\.\d+)*")
# These name one library, or several; the others name folders in which libraries are looked for.
_FILES = ("LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "GGML_BACKEND_PATH")
_BINDING = "LLAMA_CPP_LIB_PATH"
_FOLDERS = (_BINDING, "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
_REPLACING = {*_FILES, _BINDING}  # a build finds its own libraries without these


class Libraries:
    """The libraries of one build, and what they were when they were first mapped."""

    def __init__(self, build: str, environment: Mapping[str, str]) -> None:
        """Take the build, for messages, and the environment of its processes."""
        self._build = build
        self._environment = environment
        self._stamps: dict[Path, tuple[int, int]] = {}

    def check(self, mapped: Iterable[str], own: Sequence[Path], program: Path | None = None) -> None:
        """Check the libraries of a process.

        Args:
            mapped: Paths of its mapped files; other libraries are ignored.
            own: Folders of the build.
            program: That of the process, if it belongs to the build.

        Raises:
            BuildError: A variable, or the working folder, put another library into the process; or a file is
                not the one that it was in an earlier process.
        """
        found = sorted({Path(each).resolve() for each in mapped if _stem(Path(each))})
        folders = [each.resolve() for each in own]
        ours = [each for each in found if any(each.is_relative_to(folder) for folder in folders)]
        for library in found:
            if library not in ours:
                self._check_foreign(library, {*map(_stem, ours)}, folders)
        for file in (*found, *([program] if program else [])):
            stamp = _stamp(file)
            if self._stamps.setdefault(file, stamp) != stamp:
                raise BuildError(
                    f"{self._build}: {file} changed during this run: leave the build as it is until the run "
                    "ends, and run again"
                )

    def _check_foreign(self, library: Path, ours: set[str], folders: Sequence[Path]) -> None:
        stem = _stem(library)
        copies = [
            each for folder in folders for each in sorted(folder.rglob(f"{stem}.*")) if _stem(each) == stem
        ]
        if library in {each.resolve() for each in copies}:
            return  # a link of the build's
        variable = _variable(library, self._environment)
        replaced = copies and stem not in ours
        # Without a variable, a system's package has its libraries elsewhere.
        if not replaced and variable not in _REPLACING and library.parent != Path.cwd():
            return
        where = f"{variable}={self._environment[variable]} loads" if variable else "it loads"
        instead = f"instead of {copies[0]}" if copies else "which is no part of it"
        fix = f"unset {variable}" if variable else "remove that file"
        raise BuildError(
            f"{self._build}: {where} {library} {instead}: {fix}, or name the library's own build, "
            f"lib:{library.parent}"
        )


def llama_library(mapped: Iterable[str]) -> str:
    """Return the path of ``libllama`` among mapped files, "" if it is not there."""
    return next((each for each in sorted(mapped) if _stem(Path(each)) == "libllama"), "")


def program_folders(program: Path) -> list[Path]:
    """Return the folders in which a program's own libraries are: beside it, or in ``../lib``."""
    folder = program.resolve().parent
    beside = [folder.parent / name for name in ("lib", "lib64")]
    return [folder, *beside, *(each for base in beside for each in base.glob("*-linux-*"))]


def _stem(library: Path) -> str:
    match = _NAME.fullmatch(library.name)
    return match["stem"] if match else ""


def _variable(library: Path, environment: Mapping[str, str]) -> str:
    """Return the variable that names a library or its folder; "" if none does."""
    for name in _FILES:
        if any(
            Path(each).resolve() == library for each in re.split(r"[ :]", environment.get(name, "")) if each
        ):
            return name
    for name in _FOLDERS:
        for folder in filter(None, environment.get(name, "").split(":")):
            if any(each.resolve() == library for each in Path(folder).glob(f"{_stem(library)}.*")):
                return name
    return ""


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0  # removed, or replaced by another file
    return status.st_size, status.st_mtime_ns
