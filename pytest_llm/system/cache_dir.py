"""Where this package keeps what several runs share: fetched models, and what a machine showed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "PYTEST_LLM_CACHE"


def default_cache(environment: Mapping[str, str]) -> Path:
    """Return the folder where no option names one: what ``PYTEST_LLM_CACHE`` says, else the user's cache."""
    named = environment.get(VARIABLE)
    return Path(named).absolute() if named else Path(platformdirs.user_cache_dir("pytest-llm"))
