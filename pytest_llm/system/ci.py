"""Whether this process runs in continuous integration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "CI"
_NO = {"", "0", "false", "no", "off"}


def is_ci(environment: Mapping[str, str]) -> bool:
    """Return if ``CI`` is set to anything but "0", "false", "no", "off" or nothing."""
    return environment.get(VARIABLE, "").strip().lower() not in _NO
