"""Locks of builds: exclusive to make or remove one, shared to run it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pytest_llm.errors import BuildError
from pytest_llm.system.lock import FileLock, LockBusyError, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 4 * 3600.0  # seconds; longer than making any build takes


class BuildLock(FileLock):
    """The lock file beside a build's folder."""

    def __init__(self, path: Path, what: str, *, shared: bool = False) -> None:
        super().__init__(path, shared=shared)
        self._what = what

    def acquire(self, patience_seconds: float, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Take the lock, or raise ``BuildError``; see :meth:`FileLock.acquire`."""
        try:
            super().acquire(patience_seconds, lambda busy: on_progress(f"waiting: {busy}"))
        except LockBusyError:
            raise BuildError(f"{self.busy()}: try again when it has ended") from None
        except OSError as error:
            raise BuildError(
                f"{self.path} cannot be locked: {reason_of(error)}; make its folder writable, or name "
                "another cache"
            ) from None

    def busy(self) -> str:
        holder = self.holder()
        if holder is None:
            return f"{self._what} is in use"
        return f"{self._what} is being made or removed by {holder}"


@contextlib.contextmanager
def exclusive(
    path: Path, what: str, on_progress: Callable[[str], None], patience: float = PATIENCE
) -> Iterator[int]:
    """Hold the lock, or raise ``BuildError``; yield the open file, for programs that are to hold it, too."""
    lock = BuildLock(path, what)
    lock.acquire(patience, on_progress)
    try:
        yield lock.handle
    finally:
        lock.release()
