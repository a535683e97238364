"""A project's baselines, cache and build settings, found as pytest finds them."""

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
    """Return pytest's root: the folder of its ini file, or of ``setup.py``, or the start."""
    ini = ini_file.find(start)
    if ini is not None:
        return ini.parent
    return next((each for each in (start, *start.parents) if (each / "setup.py").is_file()), start)


def baselines(given: str | None, start: Path) -> Path:
    """Return ``--baselines``, ``llm_baselines``, or ``baselines`` in the root: absolute, may be absent."""
    if given:
        folder = start / Path(given).expanduser()
    else:
        folder = _ini_folder("llm_baselines", start) or home(start) / "baselines"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--baselines: {folder} is not a folder; name another")
    return folder


def cache(given: str | None, start: Path) -> Path:
    """Return ``--cache``, ``llm_cache``, or the default cache: absolute, may be absent."""
    if given:
        return start / Path(given).expanduser()
    return _ini_folder("llm_cache", start) or default_cache(os.environ)


def build(text: str, start: Path) -> BuildReference:
    """Return a build, with the ini key ``llm_build_settings`` if it is made here."""
    return parse_build(text, start, build_settings(start))


def build_settings(start: Path) -> tuple[str, ...]:
    return read_settings(_ini_text("llm_build_settings", start), "llm_build_settings")


def _ini_folder(key: str, start: Path) -> Path | None:
    written = _ini_text(key, start)
    return home(start) / Path(written).expanduser() if written else None


def _ini_text(key: str, start: Path) -> str:
    ini = ini_file.find(start)
    written = (ini_file.read_section(ini) or {}).get(key) if ini is not None else None
    return written if isinstance(written, str) else ""
