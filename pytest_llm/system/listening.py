"""Processes by the port that they listen on."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import psutil


class Child(NamedTuple):
    """A process that another one has started.

    Attributes:
        command: Its command line, in which a program may be named by a word, and paths be relative.
        program: The file that it runs; "" if that cannot be seen.
        folder: The one that it works in; "" if that cannot be seen.
    """

    command: tuple[str, ...]
    program: str = ""
    folder: str = ""


def children_below(port: int) -> list[Child]:
    """Return all that the process which listens on a port of this machine has started.

    Those of other users cannot be seen.
    """
    found: list[Child] = []
    try:
        listening = {
            each.pid
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid
        }
        for pid in sorted(listening):
            children = map(_seen, psutil.Process(pid).children(recursive=True))
            found += [each for each in children if each.command]
    except (psutil.Error, OSError):
        pass
    return found


def _seen(child: psutil.Process) -> Child:
    with suppress(psutil.Error, OSError):
        return Child(tuple(child.cmdline()), child.exe(), child.cwd())
    with suppress(psutil.Error, OSError):
        return Child(tuple(child.cmdline()))
    return Child(())  # it has ended
