"""The repository that a file belongs to."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MARKS = (".git", ".hg", ".jj")  # a folder, or of a work tree of git a file


@lru_cache(maxsize=256)
def repository_of(folder: Path) -> Path | None:
    """Return the closest folder, upwards from this one, that a version control system keeps; None if none."""
    return next(
        (each for each in (folder, *folder.parents) if any((each / mark).exists() for mark in _MARKS)), None
    )
