"""Files that are whole or absent: replaced at once, and on the disk before the call returns."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# The prefix of unfinished files, for clean-up after writers that were killed.
UNFINISHED = ".write-"


def replace(path: Path, data: bytes) -> None:
    """Write the file, on the disk, before this returns; on ``OSError`` it stays as it was."""
    unfinished = path.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        # Readable by others, unlike mkstemp's.
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(handle, "wb") as file:  # noqa: PTH123 - a path would not refuse to open what is there
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.replace(unfinished, path)  # noqa: PTH105 - beside os.open and os.fsync
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)


def remove(path: Path) -> None:
    """Remove the file, on the disk, before this returns."""
    path.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
