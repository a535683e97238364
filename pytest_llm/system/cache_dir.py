"""Cache folder, which several runs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "PYTEST_LLM_CACHE"


def default_cache(environment: Mapping[str, str]) -> Path:
    """Return the default folder: ``PYTEST_LLM_CACHE``, or the one in the user's cache."""
    named = environment.get(VARIABLE)
    return Path(named).absolute() if named else Path(platformdirs.user_cache_dir("pytest-llm"))
