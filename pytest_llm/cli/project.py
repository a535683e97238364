"""A project's baselines, cache and build settings, found as pytest finds them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_llm.builds import archive_url
from pytest_llm.builds.reference import parse_build, read_settings
from pytest_llm.errors import UsageError
from pytest_llm.system import ini_file
from pytest_llm.system.folders import default_cache, expanded

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.records import BuildReference


def home(start: Path) -> Path:
    """Return pytest's root: the folder of its ini file, or of ``setup.py``, or the start."""
    return ini_file.home(start) or start


def baselines(given: str | None, start: Path) -> Path:
    """Return ``--baselines``, ``llm_baselines``, or ``baselines`` in the root: absolute, may be absent."""
    folder = start / expanded(given) if given else ini_file.baselines(home(start))
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--baselines: {folder} is not a folder; name another")
    return folder


def cache(given: str | None, start: Path) -> Path:
    """Return ``--cache``, ``llm_cache``, or the default cache: absolute, may be absent."""
    if given:
        return start / expanded(given)
    written = ini_file.text("llm_cache", start)
    return home(start) / expanded(written) if written else default_cache(os.environ)


def build(text: str, start: Path) -> BuildReference:
    """Return a build, with the ini keys ``llm_build_settings`` and ``llm_archive_url`` if it is made here."""
    return parse_build(text, start, build_settings(start), archives(start))


def archives(start: Path) -> str:
    """Return the pattern of URLs of archives."""
    return ini_file.text("llm_archive_url", start) or archive_url.DEFAULT


def build_settings(start: Path) -> tuple[str, ...]:
    return read_settings(ini_file.text("llm_build_settings", start), "llm_build_settings")
