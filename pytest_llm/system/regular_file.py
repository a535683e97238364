"""Regular files: read whole and with a bound, or opened to write them in place.

Pipes, devices and folders are refused without waiting.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from pytest_llm.errors import DataError, DataMissingError

if TYPE_CHECKING:
    from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_CHUNK = 2**20


def read(path: Path, *, limit: int, what: object = None) -> bytes:
    """Return what a regular file holds; a link is followed to one.

    Args:
        path: The file.
        limit: Bytes that it may have.
        what: Its name in messages; None for its path.

    Raises:
        DataMissingError: There is no such file.
        DataError: It cannot be read, is no regular file, or is larger.
    """
    what = path if what is None else what
    try:
        _check(path.stat(), what, limit)  # opening some devices has effects
        # What is a pipe by now is opened without waiting.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            _check(os.fstat(handle), what, limit)
            return _bounded(handle, what, limit)
        finally:
            os.close(handle)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataMissingError(what, f"cannot be read: {error.strerror}") from None
    except OSError as error:
        raise DataError(what, f"cannot be read: {error.strerror or error}") from None
    except ValueError:  # of every call that takes a path
        raise DataError(repr(str(what)), "cannot be read: its name holds a NUL character") from None


def check_own(handle: int) -> None:
    """Raise ``OSError`` unless an open file is a regular one without a second name.

    Files that are written in place are opened with ``O_NOFOLLOW`` and checked before they are cut off: a link
    of that name, put there by others, would have a file of the user's cut off instead.
    """
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if status.st_nlink > 1:
        raise OSError(errno.EMLINK, "it has other names (hard links)")


def kind(mode: int) -> str:
    """Return the kind of a file that is not regular: "a pipe"."""
    return next((name for matches, name in _KINDS if matches(mode)), "a special file")


def _check(status: os.stat_result, what: object, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DataError(what, f"cannot be read: it is {kind(status.st_mode)}, not a regular file")
    if status.st_size > limit:
        raise _too_large(what, limit)


def _bounded(handle: int, what: object, limit: int) -> bytes:
    parts, left = [], limit + 1  # sizes in /proc are 0, and files grow
    while left and (part := os.read(handle, min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise _too_large(what, limit)
    return b"".join(parts)


def _too_large(what: object, limit: int) -> DataError:
    return DataError(what, f"has more than {limit} bytes")
