"""Files that are whole or absent: replaced at once, and on the disk before the call returns."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import stat
import time
from pathlib import Path

# The prefix of unfinished files, for clean-up after writers that were killed.
UNFINISHED = ".write-"

_PATIENCE = 30.0  # seconds without a byte, until the reader of a pipe counts as stuck


def replace(path: Path, data: bytes) -> None:
    """Write a file that the user named, on the disk, before this returns; on ``OSError`` it stays as it was.

    An existing file keeps its mode, and its owner if the system allows that. A link to a file stays: the file
    it leads to is replaced. A pipe or a device is written to.

    Raises:
        OSError: As usual; also if a link leads nowhere, and if nobody reads the pipe.
    """
    target = _target(path)
    before = _status(target)
    if before is not None and not stat.S_ISREG(before.st_mode):
        _write_through(target, data)
    elif _is_open_file(path):
        _write_through(path, data)
    else:
        _replace(target, data, before)


def replace_own(path: Path, data: bytes) -> None:
    """Write a file of a cache likewise; a link in its place, which others may have put there, is replaced."""
    _replace(path, data, None)


def obstacle(path: Path) -> str:
    """Return why :func:`replace`, after its folder was made, would fail now; "" if nothing shows.

    Nothing is written to find out: a full disk and a pipe that nobody reads show when it is done.
    """
    try:
        target = _target(path)
        if target.exists() and not is_replaced(path):
            return "" if os.access(target, os.W_OK) else "it may not be written to"
        folder = next(each for each in target.absolute().parents if os.path.lexists(each))
        if not folder.is_dir():
            return f"{folder} is no folder"
    except OSError as error:
        return str(error.strerror)
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"the folder {folder} may not be written to"


def is_replaced(path: Path) -> bool:
    """Return if :func:`replace` replaces a file; if not, it writes to a pipe or device, where all is kept."""
    try:
        status = _status(path)
    except OSError:  # writing reports it
        return True
    return (status is None or stat.S_ISREG(status.st_mode)) and not _is_open_file(path)


def _replace(path: Path, data: bytes, before: os.stat_result | None) -> None:
    unfinished = path.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        # Readable by others, unlike mkstemp's.
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(handle, "wb") as file:  # noqa: PTH123 - a path would not refuse to open what is there
            if before is not None:
                _keep(handle, before)
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.replace(unfinished, path)  # noqa: PTH105 - beside os.open and os.fsync
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
            raise OSError(error.errno, f"{error.strerror} in the folder {path.parent}") from None
        raise
    sync(path.parent)


def _target(path: Path) -> Path:
    """Return what a path leads to: itself, or the end of its links."""
    if not path.is_symlink():
        return path
    with contextlib.suppress(FileNotFoundError):
        path.stat()
        return Path(os.path.realpath(path))
    raise OSError(errno.ENOENT, "it is a link to nothing")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_open_file(path: Path) -> bool:
    """Return if a path names an open file of a process: /dev/stdout, whose own name leads elsewhere later."""
    for _ in range(40):  # as many links as Linux follows
        path = Path(os.path.realpath(path.parent), path.name)
        if not path.is_symlink():
            return False
        if path.is_relative_to("/proc"):
            return True
        path = path.parent / os.readlink(path)  # noqa: PTH115 - pathlib would read it the same
    return False


def _keep(handle: int, before: os.stat_result) -> None:
    with contextlib.suppress(OSError):  # only root gives files away
        os.fchown(handle, before.st_uid, before.st_gid)
    with contextlib.suppress(OSError):  # not every file system has modes
        os.fchmod(handle, stat.S_IMODE(before.st_mode) & 0o777)


def _write_through(path: Path, data: bytes) -> None:
    try:
        # Waits neither for a reader of a pipe nor for a terminal.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise OSError(error.errno, "nobody reads the pipe, or there is no such device") from None
    try:
        _write_all(handle, memoryview(data))
    finally:
        os.close(handle)


def _write_all(handle: int, data: memoryview) -> None:
    deadline = time.monotonic() + _PATIENCE
    while data:
        with contextlib.suppress(BlockingIOError):
            data = data[os.write(handle, data) :]
            deadline = time.monotonic() + _PATIENCE
            continue
        waiting = select.poll()  # takes descriptors of any number
        waiting.register(handle, select.POLLOUT)
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise OSError(errno.ETIMEDOUT, "its reader has stopped reading")


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
