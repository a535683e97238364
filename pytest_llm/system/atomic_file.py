"""Files that are whole or not there: replaced at once, and on the disk before anything relies on them."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What unfinished files are called, for whoever clears away after writers that were killed.
UNFINISHED = ".write-"


def replace(path: Path, data: bytes) -> None:
    """Have the file hold the data, on the disk, before this returns; else it stays as it was.

    Raises:
        OSError: It cannot be written; nothing else is left behind.
    """
    unfinished = path.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        # As open() would make it: the file is for others to read, and mkstemp's is not.
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
    """Have the file be gone, on the disk, before this returns.

    Raises:
        OSError: It cannot be removed.
    """
    path.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
