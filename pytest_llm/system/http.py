"""The HTTP library, which is slow to import, and which not everybody has."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pytest_llm.errors import EngineMissingError

if TYPE_CHECKING:
    from types import ModuleType


def http_library(what: str = "servers are measured") -> ModuleType:
    """Return it.

    Args:
        what: What it is for, as a clause.

    Raises:
        EngineMissingError: It is not installed.
    """
    try:
        return import_module("httpx2")
    except ImportError:
        raise EngineMissingError(
            f"{what} with httpx2, which is not installed: pip install 'pytest-llm-bench[servers]'"
        ) from None
