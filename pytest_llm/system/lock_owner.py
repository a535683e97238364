"""Who holds a lock: a file that is locked says so in itself.

That text may be older than the lock: it is believed only of a process that lives, and is true only while the
lock is held.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_LONGEST_COMMAND = 80  # characters
_LONGEST_TEXT = 4096  # bytes


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        pid: The process.
        command: Its command line, shortened.
        since: When it began, in local time.
    """

    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}) since {self.since}"


def write(handle: int) -> None:
    """Have an open file name this process; where it cannot be written, only the name is lost."""
    _replace(handle, json.dumps({"pid": os.getpid(), "command": _command(), "since": _now()}))


def erase(handle: int) -> None:
    """Have an open file name nobody."""
    _replace(handle, "")


def read(path: Path) -> Holder | None:
    """Return whom a file names; None if it names nobody who lives."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, OverflowError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            named = json.loads(os.read(handle, _LONGEST_TEXT))
        finally:
            os.close(handle)
        holder = Holder(int(named["pid"]), _one_line(str(named["command"])), _one_line(str(named["since"])))
        return holder if _lives(holder.pid) else None
    return None


def _replace(handle: int, text: str) -> None:
    with contextlib.suppress(OSError):  # another user's file, or a full disk: only the name is lost
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)


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
    """Return what may go to a terminal: any user may have written it."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _LONGEST_COMMAND else f"{shown[: _LONGEST_COMMAND - 1]}…"
