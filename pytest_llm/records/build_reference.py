"""Build references, ``ENGINE[@WHERE]``: one record for each kind of place.

``str()`` of each is what the user types, and parses to an equal record. In JSON, ``kind`` distinguishes
them; the codec needs its type unquoted, so this module does not postpone annotations.
"""

import shlex
from dataclasses import dataclass
from typing import Literal

# Characters of a commit; enough for any repository.
_SHORT = 12


@dataclass(frozen=True)
class Installed:
    """The build of pytest's own environment, or the program on PATH."""

    engine: str
    kind: Literal["installed"] = "installed"

    def __str__(self) -> str:
        return self.engine


@dataclass(frozen=True)
class Release:
    """A release, made from its package.

    Attributes:
        engine: "llama-cpp-python"; "llama-server" for the server in the release's sources.
        version: "0.3.36".
        settings: CMake settings, ``-DNAME=VALUE``, in the order of the names.
    """

    engine: str
    version: str
    settings: tuple[str, ...] = ()
    kind: Literal["release"] = "release"

    def __str__(self) -> str:
        return f"{self.engine}@{self.version}{_bracketed(self.settings)}"


@dataclass(frozen=True)
class Venv:
    """The build installed in a virtual environment, named by its folder."""

    engine: str
    folder: str
    kind: Literal["venv"] = "venv"

    def __str__(self) -> str:
        return f"{self.engine}@venv:{self.folder}"


@dataclass(frozen=True)
class Library:
    """A compiled library of llama.cpp, named by its folder and loaded by the installed binding."""

    engine: str
    folder: str
    kind: Literal["lib"] = "lib"

    def __str__(self) -> str:
        return f"{self.engine}@lib:{self.folder}"


@dataclass(frozen=True)
class Commit:
    """A commit of llama.cpp, compiled from a git checkout.

    Attributes:
        engine: "llama-cpp-python".
        commit: In full.
        checkout: The folder of the checkout.
        settings: As of a release.
    """

    engine: str
    commit: str
    checkout: str
    settings: tuple[str, ...] = ()
    kind: Literal["git"] = "git"

    def __str__(self) -> str:
        return f"{self.engine}@git:{self.commit[:_SHORT]}:{self.checkout}{_bracketed(self.settings)}"


@dataclass(frozen=True)
class Program:
    """A compiled benchmark program, named by its path."""

    engine: str
    path: str
    kind: Literal["bin"] = "bin"

    def __str__(self) -> str:
        return f"{self.engine}@bin:{self.path}"


@dataclass(frozen=True)
class Archive:
    """A prebuilt archive of a release of llama.cpp itself.

    Attributes:
        engine: "llama-server".
        tag: "b11434" or "v0.5.0".
        url: Where it is; ``str()`` leaves it to the setting that it comes from.
    """

    engine: str
    tag: str
    url: str
    kind: Literal["archive"] = "archive"

    def __str__(self) -> str:
        return f"{self.engine}@{self.tag}"


@dataclass(frozen=True)
class Command:
    """A program with its command line, as the user runs it."""

    engine: str
    words: tuple[str, ...]
    kind: Literal["cmd"] = "cmd"

    def __str__(self) -> str:
        return f"{self.engine}@cmd:{shlex.join(self.words)}"


@dataclass(frozen=True)
class Address:
    """A server that runs already, named by its URL."""

    engine: str
    url: str
    kind: Literal["url"] = "url"

    def __str__(self) -> str:
        return f"{self.engine}@{self.url}"


BuildReference = Installed | Release | Venv | Library | Commit | Program | Archive | Command | Address


def _bracketed(settings: tuple[str, ...]) -> str:
    return f"[{shlex.join(settings)}]" if settings else ""
