"""Lock files, by flock(2): a lock ends with the last process that has the open file.

So a killed holder frees it, and a program that inherits the file keeps it. The file names its holder; the
name may be older than the lock, and counts only while the lock is held and the process lives.

Existing files are opened without ``O_CREAT``, which kernels forbid for other users' files in folders like
/tmp (``fs.protected_regular``), never through a link, and never if they have a second name. Only what a lock
has written is overwritten: a file that holds anything else is locked and stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import DataError, LLMBenchError, MachineBusyError, UsageError
from pytest_llm.system import regular_file, strict_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

VARIABLE = "PYTEST_LLM_LOCK"
# Seconds; a run that takes longer is not worth waiting for.
PATIENCE = 900.0

# Not the folder of TMPDIR, which batch systems and macOS set for each user or job.
_DEFAULT = Path("/tmp/pytest-llm-bench.lock")
_POLL_SECONDS = 0.2
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_LONGEST_COMMAND = 80  # characters
_LONGEST_TEXT = 4096  # bytes
_BEGINNING = b'{"pid": '  # of what a lock writes


class LockBusyError(LLMBenchError):
    """Another process holds a lock, and patience is over."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    pid: int
    command: str  # shortened
    since: str  # local time

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}) since {self.since}"


class FileLock:
    """A lock on a file, held from ``acquire`` to ``release`` or to the end of every process that has it."""

    def __init__(
        self,
        path: Path,
        *,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Name the file, whose folder must exist, and whether the lock is shared; nothing is opened."""
        self.path = path
        self._mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._clock = clock
        self._sleep = sleep
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        return self._handle is not None

    @property
    def handle(self) -> int:
        """The open file, for programs that are to hold the lock, too."""
        assert self._handle is not None, "the lock is not held"
        return self._handle

    def acquire(self, patience_seconds: float, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Take the lock once it is free; do nothing if this object holds it already.

        Args:
            patience_seconds: To wait at most.
            on_progress: Receives one line before the wait, if there is one.

        Raises:
            LockBusyError: Another process still holds it.
            OSError: The file cannot be locked.
        """
        deadline = self._clock() + patience_seconds
        waited = False
        while not self.held and not self._try():
            left = deadline - self._clock()
            if left <= 0:
                holder = self.holder()
                named = f" ({holder})" if holder else ""
                raise LockBusyError(
                    f"another process has held {self.path} for {patience_seconds:.0f} s{named}: end it first"
                )
            if not waited:
                on_progress(self.busy())
                waited = True
            self._sleep(min(_POLL_SECONDS, left))

    def release(self) -> None:
        """Free the lock; do nothing if it is not held."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        if self._mode == fcntl.LOCK_EX:
            _write(handle, "")
        os.close(handle)

    def holder(self) -> Holder | None:
        """Return the process that the file names, None if none lives; only true while the lock is held."""
        return _read(self.path)

    def busy(self) -> str:
        return f"{self.path} is held by {self.holder() or 'another process'}"

    def is_free(self) -> bool:
        """Return if the lock could be taken now; true if its file does not exist or cannot be read."""
        try:
            handle = os.open(self.path, os.O_RDONLY | _FLAGS)
        except OSError:
            return True
        try:
            return self._locked(handle)
        except OSError:
            return True
        finally:
            os.close(handle)

    def _try(self) -> bool:
        # Opened anew each time: the file that was opened before may have been removed.
        handle = self._open()
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, handle)
            regular_file.check_own(handle)
            if not self._locked(handle):
                return False
            undo.pop_all()
        self._handle = handle
        if self._mode == fcntl.LOCK_EX:
            _write(handle, json.dumps({"pid": os.getpid(), "command": _command(), "since": _now()}))
        return True

    def _open(self) -> int:
        return _open(self.path)

    def _locked(self, handle: int) -> bool:
        try:
            fcntl.flock(handle, self._mode | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(handle), self.path.stat())
        except (BlockingIOError, FileNotFoundError):
            return False


class MeasuringLock(FileLock):
    """One measurer at a time on a machine: two at once make each other slower, and neither can see it.

    All users of the machine share the file. Containers with a /tmp of their own do not see each other.
    """

    def acquire(self, patience_seconds: float, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Take the lock; ``MachineBusyError`` if another process measures, ``UsageError`` if it fails."""
        try:
            super().acquire(
                patience_seconds, lambda busy: on_progress(f"{busy}: waiting up to {patience_seconds:.0f} s")
            )
        except LockBusyError:
            raise MachineBusyError(
                f"{self.busy()}, and two at once would slow each other: wait for it or end it, or, if they "
                f"share no device, name another lock file than {self.path} in {VARIABLE}"
            ) from None
        except OSError as error:
            raise UsageError(
                f"cannot lock {self.path}, so that no two runs measure at once: {reason_of(error)}; "
                f"name another file in {VARIABLE}"
            ) from None

    def busy(self) -> str:
        return f"another run measures on this machine: {self.holder() or 'an unnamed process'}"

    def _open(self) -> int:
        return _open(self.path, mode=0o666)  # whatever the umask, every user writes here that they measure


def lock_path(environment: Mapping[str, str]) -> Path:
    """Return the file that measurers on this machine lock.

    ``PYTEST_LLM_LOCK`` names another one: for runs that do not disturb each other, such as on two GPUs, and
    for a run of pytest inside one that measures.
    """
    return Path(environment.get(VARIABLE) or _DEFAULT).absolute()  # folders may be changed while waiting


@contextlib.contextmanager
def folder_lock(folder: Path, patience_seconds: float) -> Iterator[None]:
    """Make a folder and hold the lock in it: one writer at a time; or raise ``LockBusyError``."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(patience_seconds)
    except OSError as error:
        raise OSError(error.errno, f"{lock.path} cannot be locked: {reason_of(error)}") from None
    try:
        yield
    finally:
        lock.release()


def reason_of(error: OSError) -> str:
    return "it is a link" if error.errno == errno.ELOOP else error.strerror or str(error)


def _open(path: Path, mode: int | None = None) -> int:
    while True:
        try:
            return os.open(path, os.O_RDWR | _FLAGS)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            return os.open(path, os.O_RDONLY | _FLAGS)  # enough to lock what another user made
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
            if mode is not None:
                with contextlib.suppress(OSError):  # not every file system has modes
                    os.fchmod(handle, mode)
            return handle


def _write(handle: int, text: str) -> None:
    with contextlib.suppress(OSError):  # another user's file, or a full disk: only the name is lost
        if os.fstat(handle).st_size and not os.pread(handle, len(_BEGINNING), 0).startswith(_BEGINNING):
            return  # the user named a file of theirs
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)


def _read(path: Path) -> Holder | None:
    with contextlib.suppress(OSError, DataError, ValueError, TypeError, KeyError, OverflowError):
        handle = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            named = strict_json.loads(os.read(handle, _LONGEST_TEXT), limit=_LONGEST_TEXT, what=path)
        finally:
            os.close(handle)
        holder = Holder(int(named["pid"]), _one_line(str(named["command"])), _one_line(str(named["since"])))
        return holder if _lives(holder.pid) else None
    return None


def _lives(pid: int) -> bool:
    if pid <= 0:  # these mean groups of processes
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _command() -> str:
    program, *arguments = sys.orig_argv or [sys.executable]
    return _one_line(" ".join([Path(program).name, *arguments]))


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _one_line(text: str) -> str:
    # Any user may have written it, and it goes to a terminal.
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _LONGEST_COMMAND else f"{shown[: _LONGEST_COMMAND - 1]}…"
