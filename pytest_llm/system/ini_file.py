"""Pytest's ini file, found and read without pytest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from iniconfig import IniConfig, ParseError

from pytest_llm.errors import DataError, UsageError
from pytest_llm.system import regular_file
from pytest_llm.system.folders import expanded

if TYPE_CHECKING:
    from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 4 * 2**20  # people write them

# In pytest's own order. The first four are pytest's alone: they count even if they say nothing.
_OWN = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
_SHARED = ("pyproject.toml", "tox.ini", "setup.cfg")


def find(folder: Path) -> Path | None:
    """Return the ini file that pytest takes when it is started in a folder, or raise ``UsageError``.

    The closest file upwards that has a section of pytest, or if none has, the closest ``pyproject.toml``, as
    ``_pytest.config.findpaths.locate_config`` of pytest 8.1 and later (8.0 takes none without a section).
    """
    without: Path | None = None
    for each in (folder, *folder.parents):
        for name in (*_OWN, *_SHARED):
            path = each / name
            if not path.is_file():
                continue
            if name in _OWN or read_section(path) is not None:
                return path
            if name == "pyproject.toml" and without is None:
                without = path
    return without


def home(folder: Path) -> Path | None:
    """Return the nearest folder upwards with pytest's ini file, or else with ``setup.py``."""
    ini = find(folder)
    if ini is not None:
        return ini.parent
    return next((each for each in (folder, *folder.parents) if (each / "setup.py").is_file()), None)


def text(key: str, start: Path) -> str:
    """Return the value of a key in pytest's ini file as written, "" if it is no text."""
    ini = find(start)
    written = (read_section(ini) or {}).get(key) if ini is not None else None
    return written if isinstance(written, str) else ""


def baselines(home: Path) -> Path:
    """Return the folder of the baselines of a home: ``llm_baselines``, or ``baselines`` in it."""
    return home / expanded(text("llm_baselines", home) or "baselines")


def read_section(path: Path) -> dict[str, Any] | None:
    """Return pytest's own section, None if the file has none; ``UsageError`` if it cannot be read."""
    try:
        return _section(path)
    except DataError as error:
        raise UsageError(f"{error}; mend it") from None
    except (ValueError, ParseError) as error:
        raise UsageError(f"{path} cannot be read: {error}; mend it") from None


def keys_of(path: Path) -> list[str]:
    """Return every key of pytest's own section, whatever the kind of the file."""
    return list(_section(path) or {})


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        DataMissingError: There is no such file.
        DataError: It cannot be read, is no regular file, too large, not UTF-8, or not TOML.
    """
    return parse_toml(path, _text(path))


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """Return what TOML says; ``DataError``, which names the path, if it is none."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise DataError(path, "is nested too deep") from None
    except ValueError as error:
        raise DataError(path, f"is not valid TOML: {error}") from None


def _text(path: Path) -> str:
    try:
        return regular_file.read(path, limit=MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not UTF-8 at byte {error.start}") from None


def _section(path: Path) -> dict[str, Any] | None:
    if path.suffix == ".toml":
        return _toml_section(path)
    sections = IniConfig(str(path), data=_text(path)).sections
    found = sections.get("tool:pytest" if path.suffix == ".cfg" else "pytest")
    return None if found is None else dict(found)


def _toml_section(path: Path) -> dict[str, Any] | None:
    document = read_toml(path)
    if path.name == "pyproject.toml":
        document = document.get("tool", {})
    section: dict[str, Any] | None = document.get("pytest")
    if not section:  # an empty table says nothing, to pytest as well
        return section if path.name != "pyproject.toml" else None
    old: dict[str, Any] = section.get("ini_options", {})
    return {**section, **old}
