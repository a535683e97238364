"""Which processes belong to one that is watched."""

from __future__ import annotations

import psutil


class Family:
    """A process and its children; each id is looked up once."""

    def __init__(self, pid: int) -> None:
        """Take the id of the process."""
        self._known = {pid: True}
        self._pid = pid

    def __call__(self, pid: int) -> bool:
        """Whether a process is that one, or came from it."""
        if pid not in self._known:
            self._known[pid] = self._descends(pid)
        return self._known[pid]

    def _descends(self, pid: int) -> bool:
        try:
            return any(parent.pid == self._pid for parent in psutil.Process(pid).parents())
        except psutil.Error:
            return False
