"""Libraries of llama.cpp that a process has mapped, against those of the build that was named."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_NAME = re.compile(r"(?P<stem>lib(?:llama|ggml|mtmd)[\w+-]*)\.(?:so|dylib)(?:\.\d+)*")
_SHARED = re.compile(r".+\.(?:so|dylib)(?:\.\d+)*")
# Libraries and modules that an interpreter brings along, and that compute nothing of what is timed.
_INTERPRETER = re.compile(
    r".+\.(?:cpython|abi3|pypy)[\w-]*\.so"
    r"|lib(?:python|ssl|crypto|ffi|expat|z|bz2|lzma|mpdec|readline|ncurses|tinfo|sqlite3|uuid)[\d.w-]*"
    r"\.(?:so|dylib).*"
)
_NUMPY = "numpy.libs"
_CHUNK = 2**20
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


def computing(mapped: Iterable[str]) -> frozenset[Path]:
    """Return the libraries that take part in what a process computes: all mapped ones but the interpreter's.

    None if there are none of llama.cpp among them: then they are not known.
    """
    found = {Path(each) for each in mapped if _SHARED.fullmatch(Path(each).name)}
    if not any(map(_stem, found)):
        return frozenset()
    return frozenset(
        each for each in found if not _INTERPRETER.fullmatch(each.name) and each.parent.name != _NUMPY
    )


def are_equal(first: frozenset[Path], second: frozenset[Path]) -> bool:
    """Return if two sets are of the same files, or of files with the same content."""
    ours, theirs = first - second, second - first
    try:
        sizes = [sorted(each.stat().st_size for each in side) for side in (ours, theirs)]
        return sizes[0] == sizes[1] and sorted(map(_digest, ours)) == sorted(map(_digest, theirs))
    except OSError:  # removed meanwhile
        return False


def names(libraries: Iterable[Path]) -> str:
    """Return the names of llama.cpp's libraries: "libggml, libllama"; of other files, their own."""
    found = [*libraries]
    return ", ".join(sorted({*filter(None, map(_stem, found))} or {each.name for each in found}))


def _digest(library: Path) -> str:
    status = library.stat()
    return _digest_of(library, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=256)
def _digest_of(library: Path, *_stamp: int) -> str:
    digest = hashlib.sha256()
    with library.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


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
