"""Which keys pytest's ini file has, read from the file: pytest itself tells only those that it knows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from iniconfig import IniConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path


def keys_of(path: Path) -> list[str]:
    """Return every key of pytest's own section, whatever the kind of the file."""
    if path.suffix == ".toml":
        return list(_toml_section(path))
    sections = IniConfig(str(path)).sections
    return list(sections.get("tool:pytest" if path.suffix == ".cfg" else "pytest", {}))


def _toml_section(path: Path) -> dict[str, Any]:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    section: dict[str, Any] = document.get("pytest", {})  # pytest.toml
    if path.name == "pyproject.toml":
        section = document.get("tool", {}).get("pytest", {})
    old: dict[str, Any] = section.get("ini_options", {})
    return {**section, **old}
