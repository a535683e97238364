"""Processes by the port that they listen on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence


def commands_below(port: int) -> list[Sequence[str]]:
    """Return the command lines of all that the process which listens on a port of this machine has started.

    Those of other users cannot be seen.
    """
    found: list[Sequence[str]] = []
    try:
        listening = {
            each.pid
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid
        }
        for pid in sorted(listening):
            for child in psutil.Process(pid).children(recursive=True):
                command = child.cmdline()
                found += [command] if command else []
    except (psutil.Error, OSError):
        pass
    return found
