"""One measurer at a time on a machine.

Two runs that measure at once make each other slower, and neither can see it. So whoever measures holds the
kernel's lock (flock(2)) on one file that all users of the machine share. The kernel lets go of it when the
process ends, however it ends.

The file says who holds it. That text may be older than the lock: it is believed only while the lock is held
and the process that it names lives.

The file is opened without ``O_CREAT`` if it exists, since kernels forbid that for other users' files in
folders like /tmp (``fs.protected_regular``), and never through a link. filelock does otherwise in some
releases, and truncates what it opens in others. Whoever may only read the file still locks it; then nobody
learns the holder's name. Containers with a /tmp of their own do not see each other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import MachineBusyError, UsageError
from pytest_llm.system import lock_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_llm.system.lock_owner import Holder

VARIABLE = "PYTEST_LLM_LOCK"

# Not the folder of TMPDIR, which batch systems and macOS set for each user or job.
_DEFAULT = Path("/tmp/pytest-llm-bench.lock")
_POLL_SECONDS = 0.2
# Another run is over after so many seconds, or it is not worth waiting for.
PATIENCE = 900.0
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def lock_path(environment: Mapping[str, str]) -> Path:
    """Return the file that measurers on this machine lock.

    ``PYTEST_LLM_LOCK`` names another one: for runs that do not disturb each other, such as on two GPUs, and
    for a run of pytest inside one that measures.
    """
    return Path(environment.get(VARIABLE) or _DEFAULT).absolute()  # folders may be changed while waiting


class MeasuringLock:
    """Held by this process from ``acquire`` to ``release`` or to its end."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Name the file; nothing is touched yet.

        Args:
            path: See :func:`lock_path`.
            clock: Seconds; never goes back.
            sleep: Lets so many seconds pass.
        """
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def acquire(self, patience_seconds: float, on_progress: Callable[[str], None]) -> None:
        """Take the lock, once nobody else measures; nothing happens if it is held already.

        Args:
            patience_seconds: How long to wait for others at most; 0 does not wait.
            on_progress: Is given one line if there is something to wait for, once.

        Raises:
            MachineBusyError: Somebody else still measures.
            UsageError: The file cannot be locked.
        """
        deadline = self._clock() + patience_seconds
        told = False
        while not self.held and not self._try():
            left = deadline - self._clock()
            if left <= 0:
                raise MachineBusyError(
                    f"{self._busy()}, and two at once would slow each other: wait for it or end it, or where "
                    f"they share no device, name another lock file than {self._path} in {VARIABLE}"
                )
            if not told:
                on_progress(f"{self._busy()}: waiting up to {patience_seconds:.0f} s")
                told = True
            self._sleep(min(_POLL_SECONDS, left))

    def release(self) -> None:
        """Let others measure; nothing happens if the lock is not held."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        lock_owner.erase(handle)
        os.close(handle)

    def holder(self) -> Holder | None:
        """Return whom the file names; None if it names nobody who lives.

        Only true while the lock is held.
        """
        return lock_owner.read(self._path)

    def _busy(self) -> str:
        return f"another run measures on this machine: {self.holder() or 'it does not say which'}"

    def _try(self) -> bool:
        # Opened anew each time: whatever tidies the folder may have removed the file that was opened before.
        try:
            handle = _open(self._path)
            with contextlib.ExitStack() as undo:
                undo.callback(os.close, handle)
                if not self._locked(handle):
                    return False
                undo.pop_all()
        except OSError as error:
            reason = "it is a link" if error.errno == errno.ELOOP else error.strerror or str(error)
            raise UsageError(
                f"cannot lock {self._path}, so that no two runs measure at once: {reason}; "
                f"name another file in {VARIABLE}"
            ) from None
        self._handle = handle
        lock_owner.write(handle)
        return True

    def _locked(self, handle: int) -> bool:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("it is no regular file")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(handle), self._path.stat())
        except (BlockingIOError, FileNotFoundError):
            return False


def _open(path: Path) -> int:
    while True:
        try:
            return os.open(path, os.O_RDWR | _FLAGS)
        except FileNotFoundError:
            pass
        except PermissionError:
            return os.open(path, os.O_RDONLY | _FLAGS)
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS)
            with contextlib.suppress(OSError):  # not every file system has modes
                os.fchmod(handle, 0o666)  # whatever the umask, every user is to say here that they measure
            return handle
