"""Who makes or removes a build is alone with it; those who run it share it.

The lock is the kernel's (flock(2)) on a file beside the build's folder. Whoever inherits the open file holds
it as well: so the lock of a maker that was killed lasts until the programs that it started have ended, too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

from pytest_llm.errors import BuildError
from pytest_llm.system import lock_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Longer than making any build takes.
_PATIENCE_SECONDS = 4 * 3600.0
_POLL_SECONDS = 0.2


@contextlib.contextmanager
def alone(
    path: Path, what: str, on_progress: Callable[[str], None], patience: float = _PATIENCE_SECONDS
) -> Iterator[int]:
    """Hold the lock alone; the open file is given, for programs that are to hold it, too.

    Args:
        path: The file; its folder must exist.
        what: The build, for messages.
        on_progress: Is given one line if there is somebody to wait for, once.
        patience: Seconds to wait at most; 0 does not wait.

    Raises:
        BuildError: Somebody else still has it, or the file cannot be locked.
    """
    handle = _take(path, fcntl.LOCK_EX, what, on_progress, patience)
    lock_owner.write(handle)
    try:
        yield handle
    finally:
        lock_owner.erase(handle)
        os.close(handle)


def share(path: Path, what: str, on_progress: Callable[[str], None]) -> int:
    """Share the lock with others that do; return the open file: whoever closes it lets go.

    Raises:
        BuildError: Somebody has it alone for too long, or the file cannot be locked.
    """
    return _take(path, fcntl.LOCK_SH, what, on_progress, _PATIENCE_SECONDS)


def is_held_alone(path: Path) -> bool:
    """Whether somebody makes or removes the build now."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(handle, path, fcntl.LOCK_SH)
    except OSError:
        return False
    finally:
        os.close(handle)


def _take(path: Path, mode: int, what: str, on_progress: Callable[[str], None], patience: float) -> int:
    deadline = time.monotonic() + patience
    told = False
    while True:
        handle = _try(path, mode)
        if handle is not None:
            return handle
        holder = lock_owner.read(path)
        busy = f"{what} is in use" if holder is None else f"{what} is being made or removed by {holder}"
        left = deadline - time.monotonic()
        if left <= 0:
            raise BuildError(f"{busy}: try again when it has ended")
        if not told:
            on_progress(f"waiting: {busy}")
            told = True
        time.sleep(min(_POLL_SECONDS, left))


def _try(path: Path, mode: int) -> int | None:
    # Opened anew each time: whoever removes a build removes this file with it.
    try:
        handle = _open(path)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, handle)
            if not _locked(handle, path, mode):
                return None
            undo.pop_all()
            return handle
    except OSError as error:
        raise BuildError(
            f"{path} cannot be locked: {error.strerror or error}; make its folder writable, or name another "
            "cache"
        ) from None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough to run what another user made


def _locked(handle: int, path: Path, mode: int) -> bool:
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
