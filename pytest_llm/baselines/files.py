"""Files that are whole or not there: read with a bound, replaced at once, one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING

from pytest_llm.errors import BaselineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Seconds to wait for other processes; each holds the lock for the time of one small file.
_LOCK_SECONDS = 60.0

_LOCK = ".lock"
_TEMPORARY = ".write-"

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def read(path: Path, bound: int) -> bytes | None:
    """Return what a file holds, at most one byte more than the bound, or None where there is none.

    Raises:
        BaselineError: It is there and cannot be read.
    """
    try:
        # A pipe of that name would keep a reader waiting for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise BaselineError(f"{path} is not a file: move it away")
        with path.open("rb") as file:
            return file.read(bound + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BaselineError(f"{path} cannot be read: {_reason(error)}; make it readable") from None


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Make the file's folder, and keep every other process that changes a file in it waiting.

    What writers that were killed left behind in the folder is removed: whoever holds the lock is the only
    writer that lives.

    Raises:
        BaselineError: The folder cannot be made or locked, or the body could not read or write.
    """
    # Importing this package must stay cheap, and filelock is not.
    from filelock import FileLock, Timeout

    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(folder / _LOCK), timeout=_LOCK_SECONDS)
        with lock:
            for stale in folder.glob(f"{_TEMPORARY}*"):
                stale.unlink(missing_ok=True)
            yield
    except Timeout:
        raise BaselineError(
            f"another process has held {folder / _LOCK} for {_LOCK_SECONDS:.0f} s: end it first"
        ) from None
    except NotImplementedError as error:
        raise BaselineError(
            f"{folder} lies where files cannot be locked ({error}): keep baselines elsewhere"
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None


def replace(path: Path, data: bytes) -> None:
    """Have the file hold the data, on the disk, before this returns; else it stays as it was.

    Raises:
        OSError: It cannot be written; nothing else is left behind.
    """
    temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
    try:
        # As open() would make it: the file is for others to read, and mkstemp's is not.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(handle, "wb") as file:  # noqa: PTH123 - a path would not refuse to open what is there
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.replace(temporary, path)  # noqa: PTH105 - beside os.open and os.fsync
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Have the file be gone, on the disk, before this returns.

    Raises:
        OSError: It cannot be removed.
    """
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the folder's names written to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> BaselineError:
    if error.errno in _NO_SPACE:
        fix = "what was there is kept; free some space, then record again"
    else:
        fix = "make its folder writable, or keep baselines elsewhere"
    return BaselineError(f"{path} cannot be written: {_reason(error)}; {fix}")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
