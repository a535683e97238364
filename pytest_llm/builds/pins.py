"""Read which build a file pins: a requirement, a lock file, a variable, JSON, or a git submodule.

A pin is a release of llama-cpp-python, or a tag or commit of llama.cpp. Files are read as text and never run.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pytest_llm.builds import git
from pytest_llm.engines import LLAMA_SERVER
from pytest_llm.errors import UsageError
from pytest_llm.system import ini_file, regular_file
from pytest_llm.system.repository import repository_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE = "llama-cpp-python"
_MAX_BYTES = 64 * 2**20  # of a lock file
_RELEASE = re.compile(r"v?\d+(\.\d+)+([abc.+-]?\w+)*")
_NUMBER = re.compile(r"b\d{3,}")
_REF = re.compile(r"b\d{3,}|[0-9a-f]{7,40}|v\d[\w.]*")
# `ARG LLAMA_CPP_REF=b6000`, `LLAMA_CPP_VERSION: "b6000"`, `set(LLAMA_CPP_TAG b6000)`.
_VARIABLE = re.compile(
    r"""^[ \t]*(?:-[ \t]+)?(?:export[ \t]+|ARG[ \t]+|ENV[ \t]+|set\()?(?P<name>[A-Za-z_][\w.-]*)"""
    r"""[ \t]*(?::=|\?=|[:=]|[ \t])[ \t]*["']?(?P<value>[\w.+-]+)""",
    re.MULTILINE,
)
_OF_LLAMA = re.compile(r"llama", re.IGNORECASE)
_VERSION_OF = re.compile(r"\s*(?:==|=)?\s*(?P<version>[\w.+-]+)\s*")


def pinned_in(path: Path, text: str, key: str = "") -> str:
    """Return what a file pins: a release as "0.3.36", or a tag or commit of llama.cpp.

    Args:
        path: Its name tells the format.
        text: What it holds.
        key: The package, the variable, or the path of keys ("engines.llama.cpp") that holds the pin; ""
            looks for llama-cpp-python, then for the only variable or key that is named after llama.

    Raises:
        UsageError: The file cannot be read, or pins none or several.
    """
    found = dict.fromkeys(_candidates(path, text, key))
    pins = [each for each in found if _RELEASE.fullmatch(each) or _REF.fullmatch(each)]
    if len(pins) == 1:
        return pins[0].removeprefix("v") if _RELEASE.fullmatch(pins[0]) else pins[0]
    of = f" of {key}" if key else ""
    if not pins:
        hint = (
            "name the package, the variable or the key that holds it with --key"
            if not key
            else "correct the key"
        )
        raise UsageError(f"{path}: no pin{of} is in it ({hint})")
    raise UsageError(f"{path}: {len(pins)} pins{of} are in it, {', '.join(pins)}: choose one with --key")


def pinned_at(path: Path, ref: str, key: str = "") -> str:
    """Return what a file, or the submodule in a folder, pins at a commit of the repository in which it lies.

    Args:
        path: The file or folder, as it is now.
        ref: Anything that git takes for a commit; "" is the work tree.
        key: As for :func:`pinned_in`.

    Raises:
        UsageError: As :func:`pinned_in`; or the commit has no such file.
    """
    if path.is_dir():
        return _submodule(path, ref)
    if not ref:
        try:
            return pinned_in(path, regular_file.read(path, limit=_MAX_BYTES).decode("utf-8"), key)
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8 at byte {error.start}") from None
    root, name = _place(path)
    commit = git.commit_of(root, ref)
    try:
        text = git.ask(root, "show", f"{commit}:{name}")
    except git.GitError:
        raise UsageError(f"{path} is not in {ref}: name the file that holds the pin there, too") from None
    return pinned_in(path, text, key)


def as_build(pin: str, checkout: Path | None = None) -> str:
    """Return a pin as ``--llm-candidate`` and ``--llm-against`` take it.

    A tag of llama.cpp is compiled from a checkout if there is one, and is a prebuilt server otherwise.

    Raises:
        UsageError: It is a commit, and no checkout of llama.cpp is named.
    """
    if _RELEASE.fullmatch(pin):
        return pin
    if checkout is not None:
        return f"git:{pin}:{checkout}"
    if _NUMBER.fullmatch(pin):
        return f"{LLAMA_SERVER}@{pin}"
    raise UsageError(f"{pin} is a commit of llama.cpp: name a checkout of it with --checkout")


def _candidates(path: Path, text: str, key: str) -> Iterator[str]:
    """Yield every text that may be the pin; those of the package alone, if there are any."""
    name = path.name.lower()
    document: Any = None
    if name.endswith(".json") or name == "pipfile.lock":
        document = _json(path, text)
    elif name.endswith((".toml", "uv.lock", "poetry.lock", "pdm.lock")):
        document = ini_file.parse_toml(path, text)
    if document is None:
        package = [*_requirements(text, key or PACKAGE)]
        yield from package or (
            each["value"] for each in _VARIABLE.finditer(text) if _is_asked(each["name"], key)
        )
        return
    package = [*_of_package(document, _normal(key or PACKAGE))]
    yield from package or _of_keys(document, key)


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON: {error}") from None


def _is_asked(name: str, key: str) -> bool:
    return name == key if key else _OF_LLAMA.search(name) is not None


def _requirements(text: str, package: str) -> Iterator[str]:
    written = re.escape(package).replace("\\-", "[-_.]")
    pattern = re.compile(
        rf"(?<![\w.-]){written}\s*(?:\[[^\]]*\])?\s*==\s*(?P<version>[\w.+-]+)", re.IGNORECASE
    )
    for line in text.splitlines():
        if not line.lstrip().startswith(("#", "//")):
            yield from (each["version"] for each in pattern.finditer(line))


def _of_package(part: Any, package: str) -> Iterator[str]:
    """Yield the versions of a package in a lock file, a list of requirements, or a table of dependencies."""
    if isinstance(part, str):
        yield from _requirements(part, package)
    elif isinstance(part, list):
        for each in part:
            yield from _of_package(each, package)
    elif isinstance(part, dict):
        if _normal(str(part.get("name", ""))) == package and isinstance(part.get("version"), str):
            yield part["version"]
        for name, each in part.items():
            if _normal(name) == package:
                yield from _version_of(each)
            else:
                yield from _of_package(each, package)


def _version_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = next(
            (value[name] for name in ("version", "rev", "ref", "tag", "commit") if name in value), None
        )
    if isinstance(value, str) and (found := _VERSION_OF.fullmatch(value)):
        yield found["version"]


def _of_keys(part: Any, key: str, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield what stands under a path of keys, or under any key that is named after llama."""
    if not isinstance(part, dict):
        return
    for name, each in part.items():
        here = (*path, name)
        asked = ".".join(here) == key if key else _OF_LLAMA.search(name) is not None
        if asked:
            yield from _version_of(each)
        yield from _of_keys(each, key, here)


def _submodule(folder: Path, ref: str) -> str:
    if not ref:
        return git.commit_of(folder, "HEAD")
    root, name = _place(folder)
    commit = git.commit_of(root, ref)
    entry = git.ask(root, "ls-tree", commit, "--", name).split()  # mode, kind, object, name
    if entry[1:2] != ["commit"]:
        raise UsageError(f"{folder} is no submodule in {ref}: name the file that holds the pin")
    return entry[2]


def _place(path: Path) -> tuple[Path, str]:
    """Return the repository in which a path lies, and the path from there."""
    where = path.resolve()
    root = repository_of(where.parent)
    if root is None:
        raise UsageError(f"{path} is in no repository of git, so it has no earlier pin")
    return root, where.relative_to(root).as_posix()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
