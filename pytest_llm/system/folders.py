"""Folders of the user: the cache, which several runs share, and paths below the home folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from pytest_llm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "PYTEST_LLM_CACHE"


class NoCacheError(UsageError):
    """There is no home folder for the cache."""

    def __init__(self) -> None:
        """Compose the message."""
        super().__init__(
            "no folder for models and builds: this user has no home folder (HOME is not set, or no absolute "
            f"path); name a folder with --llm-cache, or set {VARIABLE} to one"
        )


def default_cache(environment: Mapping[str, str]) -> Path:
    """Return the default folder: ``PYTEST_LLM_CACHE``, or the one in the user's cache.

    Raises:
        NoCacheError: The user has no home folder.
    """
    named = environment.get(VARIABLE)
    if named:
        return Path(named).absolute()
    try:
        folder = Path(platformdirs.user_cache_dir("pytest-llm"))
    except RuntimeError:
        raise NoCacheError from None
    # Older releases of platformdirs keep the "~", or take an empty HOME for the root.
    if not folder.is_absolute() or (environment.get("HOME") == "" and folder.parent == Path("/.cache")):
        raise NoCacheError
    return folder


def expanded(path: str) -> Path:
    """Return a path with the home folder in place of ``~``.

    Raises:
        UsageError: There is no such home folder, or no path holds such a character.
    """
    if "\0" in path:
        raise UsageError(f"{path!r}: a path holds no NUL character; correct it")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{path!r}: the home folder is unknown; write the full path") from None
