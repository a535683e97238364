"""Waits for what another process does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 60


def pid_in(path: Path) -> int:
    """Wait until a process has written its id into a file, and return it.

    Raises:
        AssertionError: None has within a minute.
    """
    deadline = time.monotonic() + _SECONDS
    while not (path.exists() and (written := path.read_text(encoding="utf-8"))):
        assert time.monotonic() < deadline, f"nobody writes {path}"
        time.sleep(0.02)
    return int(written)
