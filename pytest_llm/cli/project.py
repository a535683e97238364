"""Where a project's baselines and cache are and how it makes builds, found as pytest finds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.builds.reference import parse_build, read_settings
from pytest_llm.errors import UsageError
from pytest_llm.system import ini_file
from pytest_llm.system.cache_dir import default_cache

if TYPE_CHECKING:
    from pytest_llm.records import BuildReference


def home(start: Path) -> Path:
    """Return where pytest is at home: the folder of its ini file, else that of ``setup.py``, else the start.

    Raises:
        UsageError: An ini file cannot be read.
    """
    ini = ini_file.find(start)
    if ini is not None:
        return ini.parent
    return next((each for each in (start, *start.parents) if (each / "setup.py").is_file()), start)


def baselines(given: str | None, start: Path) -> Path:
    """Return the folder of baselines, absolute; it need not exist.

    Args:
        given: ``--baselines``; without it, the ini key ``llm_baselines``, else ``baselines`` at home.
        start: The current folder.

    Raises:
        UsageError: It is no folder, or the ini file cannot be read.
    """
    folder = start / Path(given).expanduser() if given else _by_default(start)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--baselines: {folder} is not a folder; name another")
    return folder


def cache(given: str | None, start: Path) -> Path:
    """Return the folder of the cache, absolute; it need not exist.

    Args:
        given: ``--cache``; without it, the ini key ``llm_cache``, else ``PYTEST_LLM_CACHE``, else the user's.
        start: The current folder.

    Raises:
        UsageError: The ini file cannot be read.
    """
    if given:
        return start / Path(given).expanduser()
    named = _ini_folder("llm_cache", start)
    return named or default_cache(os.environ)


def build(text: str, start: Path) -> BuildReference:
    """Return the build that is meant; the ini key ``llm_build_settings`` holds for those that are made.

    Args:
        text: What the user wrote.
        start: The current folder.

    Raises:
        UsageError: It is no build, the settings are none, or the ini file cannot be read.
    """
    return parse_build(text, start, build_settings(start))


def build_settings(start: Path) -> tuple[str, ...]:
    """Return the CMake settings of the ini key ``llm_build_settings``.

    Raises:
        UsageError: They are none, or the ini file cannot be read.
    """
    return read_settings(_said("llm_build_settings", start), "llm_build_settings")


def _by_default(start: Path) -> Path:
    return _ini_folder("llm_baselines", start) or home(start) / "baselines"


def _ini_folder(key: str, start: Path) -> Path | None:
    said = _said(key, start)
    return home(start) / Path(said).expanduser() if said else None


def _said(key: str, start: Path) -> str:
    ini = ini_file.find(start)
    said = (ini_file.read_section(ini) or {}).get(key) if ini is not None else None
    return said if isinstance(said, str) else ""
