"""The grammar of builds: ``ENGINE[@WHERE]``.

A new kind of place is one record in :mod:`pytest_llm.records.build_reference`, and a function that reads it
with one line in ``_PLACES``. The kinds that an engine takes stand in ``engines.ENGINES``.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pytest_llm import engines
from pytest_llm.builds import archive_url
from pytest_llm.builds.command_line import read_command
from pytest_llm.builds.git import commit_of
from pytest_llm.errors import UsageError
from pytest_llm.records import (
    Address,
    Archive,
    BuildReference,
    Command,
    Commit,
    Installed,
    Library,
    Program,
    Release,
    Venv,
)
from pytest_llm.records.other_tools import OLLAMA, URL, kind_of_model
from pytest_llm.system.folders import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Reference = TypeVar("Reference", bound=BuildReference)

# A place alone: "venv:PATH", or a release.
_PLACE = re.compile(r"[A-Za-z]+:|v?\d")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NUMBER = re.compile(r"b\d{3,}")
_TAG = re.compile(r"b\d{3,}|v\d+(\.\d+)+")
_RELEASES, _ARCHIVES, _URLS = "release", "archive", "url"
_RELEASE = re.compile(r"v?\d")
_SECOND_BRACKETS = re.compile(r"\]\[-D")
_SETTING = re.compile(r"-D(?P<name>[A-Za-z_][\w.-]*)(:[A-Z]+)?=.*", re.ASCII)
# "master~3:" of "master~3:../llama.cpp": a colon may be within braces, as in "HEAD@{12:00}:".
_REF = re.compile(r"(?P<ref>(?:[^:{}]|\{[^{}]*\}|[{}])+):")
_LIBRARIES = ("libllama.so", "libllama.dylib")
_FIX = "a build is ENGINE[@WHERE], or alone a release such as 0.3.36, venv:PATH, lib:PATH or git:REF:CHECKOUT"


def parse_build(
    text: str, start: Path, settings: Sequence[str] = (), archives: str = archive_url.DEFAULT
) -> BuildReference:
    """Read ``ENGINE[@WHERE]``, or ``WHERE`` alone of llama-cpp-python; ``str()`` is the inverse.

    Args:
        text: What the user wrote.
        start: The folder that relative paths count from.
        settings: CMake's ``-DNAME=VALUE`` for a release or commit; its own of the same names win.
        archives: The pattern of URLs of prebuilt archives.

    Raises:
        UnknownNameError: The engine is not known.
        UsageError: WHERE is nothing that this engine has, or nothing lies there.
    """
    if not text.isprintable():
        raise UsageError(f"build {text!r}: it holds characters that cannot be printed; {_FIX}")
    elsewhere = _elsewhere(text, start)
    if elsewhere:
        raise UsageError(f"build {text!r}: {elsewhere}; {_FIX}")
    engine, at, where = (engines.DEFAULT, "@", text) if _PLACE.match(text) else text.partition("@")
    entry = engines.ENGINES.find(engine, fix=_FIX)
    if not at and entry.bare:
        return Installed(engine)
    kind, path = _place_of(where, entry.places)
    if kind == _ARCHIVES:
        return _archive(text, engine, path, archives)
    if kind in entry.places and path:
        return with_settings(_PLACES[kind].read(text, engine, path, start), settings)
    ways = [f"{engine}@{_WRITTEN[each]}" for each in entry.places]
    ways += [f"{engine} alone for {entry.bare}"] if entry.bare else []
    wrong = f"{where!r} is not a place of {engine}" if at else f"{engine} has to be told where it is"
    *others, last = ways
    offered = f"{', '.join(others)}, or {last}" if others else last
    if kind_of_model(where) == OLLAMA and kind not in _PLACES:
        offered += f"; a model is given with --llm-model ollama:{where}"
    raise UsageError(f"build {text!r}: {wrong}; write {offered}")


def _place_of(where: str, places: Sequence[str]) -> tuple[str, str]:
    """Return the kind of a place and the rest of it; a kind that no engine has if it is written like none."""
    if _URLS in places and _URL.match(where):
        return _URLS, where
    if _ARCHIVES in places and _TAG.fullmatch(where):
        return _ARCHIVES, where
    if _RELEASE.match(where):
        return _RELEASES, where
    kind, _, path = where.partition(":")
    return kind, path


def _elsewhere(text: str, start: Path) -> str:
    """Return what a text that is written like no build means elsewhere; "" if nothing."""
    written = "@" in text or text.partition(":")[0] in _PLACES or _RELEASE.match(text)
    if not _URL.match(text) and (written or text in engines.ENGINES):
        return ""
    if _NUMBER.fullmatch(text):
        return (
            f"llama.cpp's numbers are tags of its repository: write git:{text}:CHECKOUT, or "
            f"{engines.LLAMA_SERVER}@{text} for its prebuilt server"
        )
    kind = kind_of_model(text)
    if kind == URL:
        return f"it is {kind}, and builds are not downloaded from one; a server that runs is {_at(text)}"
    if text and _path(text, start).exists() and not text.lower().endswith(".gguf"):
        return "it is a path, and its kind must stand before it"
    if kind or text.lower().endswith(".gguf"):
        own = f" ollama:{text}" if kind == OLLAMA and not text.startswith("ollama:") else ""
        return f"it is {kind or 'a file of weights'}, not a build: models are given with --llm-model{own}"
    return ""


def _at(url: str) -> str:
    """Return a server by URL as a build: the port tells the tool, unless it was told otherwise."""
    try:
        port = urlsplit(url).port
    except ValueError:
        port = None
    engine = next((name for name, each in engines.ENGINES.items() if port and each.port == port), "openai")
    return f"{engine}@{url}"


def _release(text: str, engine: str, written: str, start: Path) -> Release:  # noqa: ARG001
    # Importing this package must stay cheap.
    from packaging.version import InvalidVersion, Version

    version, bracket, rest = written.partition("[")
    if bracket and not rest.endswith("]"):
        raise UsageError(f"build {text!r}: it must end with the bracket: {version}[-DNAME=VALUE …]")
    try:
        release = str(Version(version))
    except InvalidVersion:
        raise UsageError(
            f"build {text!r}: {version!r} is no version of a release (PEP 440); write one whole, as 0.3.36"
        ) from None
    return Release(engine, release, read_settings(rest[:-1], f"build {text!r}"))


def _venv(text: str, engine: str, written: str, start: Path) -> Venv:
    folder = _path(written, start)
    if not folder.is_dir():
        raise UsageError(f"build {text!r}: there is no folder {folder}; make it with python -m venv")
    return Venv(engine, str(folder))


def _lib(text: str, engine: str, written: str, start: Path) -> Library:
    folder = _path(written, start)
    if folder.name in _LIBRARIES:
        raise UsageError(f"build {text!r}: name the folder of the library, {folder.parent}")
    if not any((folder / name).is_file() for name in _LIBRARIES):
        raise UsageError(f"build {text!r}: there is no {' or '.join(_LIBRARIES)} in {folder}")
    return Library(engine, str(folder))


def _bin(text: str, engine: str, written: str, start: Path) -> Program:
    program = path = _path(written, start)
    if path.is_dir():
        inside = (path / engine, path / "bin" / engine)
        program = next((each for each in inside if each.is_file()), inside[0])
    if not program.is_file():
        raise UsageError(f"build {text!r}: there is no program {program}; name it, or its folder")
    if not os.access(program, os.X_OK):
        raise UsageError(f"build {text!r}: {program} is no program; name the one that was compiled")
    return Program(engine, str(program))


def _git(text: str, engine: str, written: str, start: Path) -> Commit:
    found = _REF.match(written)
    if found is None or found.end() == len(written):
        raise UsageError(f"build {text!r}: write git:REF:CHECKOUT, as git:master~3:../llama.cpp")
    folder, settings = _checkout(written[found.end() :], start)
    try:
        commit = commit_of(folder, found["ref"])
    except UsageError as error:
        raise UsageError(f"build {text!r}: {error}") from None
    return Commit(engine, commit, str(folder), read_settings(settings, f"build {text!r}"))


def _archive(text: str, engine: str, tag: str, pattern: str) -> Archive:
    try:
        return Archive(engine, tag, archive_url.url_of(pattern, tag))
    except UsageError as error:
        raise UsageError(f"build {text!r}: {error}") from None


def _cmd(text: str, engine: str, written: str, start: Path) -> Command:
    try:
        return Command(engine, read_command(written, engine, start))
    except UsageError as error:
        raise UsageError(f"build {text!r}: {error}") from None


def _url(text: str, engine: str, written: str, start: Path) -> Address:  # noqa: ARG001
    parts = urlsplit(written)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"build {text!r}: write {_WRITTEN[_URLS]}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"build {engine}@{parts.scheme}://…: a URL with a password or a query would stand in reports: "
            f"leave it out, and set {engines.API_KEY} in the environment if the server wants a key"
        )
    return Address(engine, written.rstrip("/"))


def _checkout(written: str, start: Path) -> tuple[Path, str]:
    """Return the folder, and what is written between the brackets after it: folders may have some as well."""
    ends = [len(written)]
    if written.endswith("]"):
        ends += [match.start() for match in reversed(list(re.finditer(r"\[", written)))]
    folders = {end: _path(written[:end], start) for end in ends}
    end = next((end for end in ends if end and folders[end].is_dir()), ends[-1])
    return folders[end], written[end + 1 : -1]


def _path(written: str, start: Path) -> Path:
    return (start / expanded(written)).absolute()


class _Place(NamedTuple):
    # Of the whole text, the engine, the part after the place's name, and the folder of relative paths.
    read: Callable[[str, str, str, Path], BuildReference]
    written: str


_PLACES = {
    _RELEASES: _Place(_release, "0.3.36 for a release"),
    "venv": _Place(_venv, "venv:PATH"),
    "lib": _Place(_lib, "lib:PATH"),
    "git": _Place(_git, "git:REF:CHECKOUT for a commit of llama.cpp"),
    "bin": _Place(_bin, "bin:PATH for the program or its folder"),
    "cmd": _Place(_cmd, "'cmd:COMMAND LINE'"),
    _URLS: _Place(_url, "http://HOST:PORT for a server that runs"),
}
_WRITTEN = {
    **{name: place.written for name, place in _PLACES.items()},
    _ARCHIVES: "b11434 for a prebuilt archive",
}


def read_settings(written: str, whose: str) -> tuple[str, ...]:
    """Return CMake's settings by name, since their order means nothing; messages begin with ``whose``."""
    try:
        words = shlex.split(written)
    except ValueError as error:
        raise UsageError(f"{whose}: {written!r} cannot be read: {error}") from None
    found: dict[str, str] = {}
    for word in words:
        if _SECOND_BRACKETS.search(word):
            raise UsageError(
                f"{whose}: write all settings in one pair of brackets: [-DNAME=VALUE -DNAME=VALUE]"
            )
        name = _name(word)
        if not name:
            raise UsageError(f"{whose}: {word!r} is no setting; write -DNAME=VALUE, as -DGGML_AVX2=OFF")
        if name in found:
            raise UsageError(f"{whose}: {name} is set twice; set it once")
        found[name] = word
    return tuple(found[name] for name in sorted(found))


def _name(setting: str) -> str:
    match = _SETTING.fullmatch(setting)
    return match["name"] if match else ""


def with_settings(build: Reference, settings: Sequence[str]) -> Reference:
    """Return a build with more CMake settings; its own win, and a build that is not made here gets none."""
    if not isinstance(build, Release | Commit):
        return build
    named = {_name(each): each for each in (*settings, *build.settings)}
    return replace(build, settings=tuple(named[name] for name in sorted(named)))
