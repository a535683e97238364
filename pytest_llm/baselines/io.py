"""Files of baselines: read with a bound, changed by one writer at a time."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from pytest_llm.errors import BaselineError, DataError, DataMissingError
from pytest_llm.system import regular_file
from pytest_llm.system.atomic_file import UNFINISHED
from pytest_llm.system.lock import LockBusyError, folder_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Seconds to wait for other processes; each holds the lock for the time of one small file.
_LOCK_SECONDS = 60.0

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def read(path: Path, bound: int) -> bytes | None:
    """Return what a file holds, or None if there is none.

    Raises:
        BaselineError: It is there and cannot be read, is no regular file, or has more bytes than the bound.
    """
    try:
        return regular_file.read(path, limit=bound)
    except DataMissingError:
        return None
    except DataError as error:
        raise BaselineError(f"{error}: move it away, or make it readable") from None


@contextlib.contextmanager
def changing(folder: Path, path: Path) -> Iterator[None]:
    """Make the folder, and keep every other process that changes a file in it or below waiting.

    What writers that were killed left beside the file is removed: whoever holds the lock is the only writer
    that lives.

    Args:
        folder: Where the lock is.
        path: The file to change, in the folder or below.

    Raises:
        BaselineError: The folder cannot be made or locked, or the body could not read or write.
    """
    try:
        with writing(path), folder_lock(folder, _LOCK_SECONDS):
            for stale in path.parent.glob(f"{UNFINISHED}*"):
                if not stale.is_dir() or stale.is_symlink():  # a folder is not ours
                    stale.unlink(missing_ok=True)
            yield
    except LockBusyError as error:
        raise BaselineError(str(error)) from None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise ``BaselineError`` for an ``OSError`` of the body, which writes a file."""
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> BaselineError:
    if error.errno in _NO_SPACE:
        fix = "what was there is kept; free some space, then record again"
    else:
        fix = "make its folder writable, or keep baselines elsewhere"
    return BaselineError(f"{path} cannot be written: {_reason(error)}; {fix}")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
