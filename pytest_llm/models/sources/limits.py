"""Limits of a download: bytes, time and speed."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.errors import ModelFetchError
from pytest_llm.models.progress import Meter, silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_llm.models.progress import Show

_MAGIC = b"GGUF"
# No file of a published model is larger: splitting them is usual from 50 GB on.
DEFAULT_BYTES = 2**36

WINDOW_SECONDS = 60.0
SLOWEST = 2**14  # bytes a second, over a window
LONGEST_SECONDS = 24 * 3600.0


class Limit(NamedTuple):
    """The bytes that a download may bring, why not more, and what takes those that are here."""

    size: int = DEFAULT_BYTES
    declared: bool = False
    show: Show = silent

    def check(self, size: int) -> None:
        """Raise ModelFetchError if so many bytes are too many."""
        if size <= self.size:
            return
        if self.declared:
            raise ModelFetchError(
                f"it brings more than the {self.size} bytes that pyproject.toml says: correct the model's "
                "size there, or fetch the right file"
            )
        raise ModelFetchError(
            f"it brings more than {self.size} bytes: if the model is that large, write its size into "
            "pyproject.toml"
        )


class Transfer:
    """A transfer in progress: :meth:`received` raises ModelFetchError at the limits."""

    def __init__(
        self,
        limit: Limit,
        folder: Path,
        promised: int | None,
        clock: Callable[[], float] = time.monotonic,
        had: int = 0,
    ) -> None:
        """Begin; raise ModelFetchError if the promised bytes are too many, or do not fit the disk.

        Args:
            limit: See :class:`Limit`.
            folder: Where they are written.
            promised: Bytes of the file; None if unknown.
            clock: In seconds.
            had: Bytes that are here already.
        """
        if promised is not None:
            limit.check(promised)
            free = shutil.disk_usage(folder).free
            if promised - had > free:
                raise ModelFetchError(f"it has {promised} bytes, and {folder} has room for {free}")
        self._limit = limit
        self._meter = Meter("fetching", limit.show, promised, clock)
        self._begin = _MAGIC if had else b""
        self._clock = clock
        self._started = self._window_started = clock()
        self._size = self._window_size = had

    def received(self, chunk: bytes) -> None:
        """Count bytes, and look at the first."""
        if len(self._begin) < len(_MAGIC):
            self._begin += chunk[: len(_MAGIC)]
            if not _MAGIC.startswith(self._begin[: len(_MAGIC)]):
                raise ModelFetchError(f"it is not a GGUF file: it starts with {self._begin!r}")
        self._size += len(chunk)
        self._limit.check(self._size)
        self._meter(self._size)
        now = self._clock()
        if now - self._started > LONGEST_SECONDS:
            raise ModelFetchError(f"it took more than {LONGEST_SECONDS / 3600:g} h")
        if now - self._window_started >= WINDOW_SECONDS:
            rate = (self._size - self._window_size) / (now - self._window_started)
            if rate < SLOWEST:
                raise ModelFetchError(
                    f"it came with {rate:.0f} bytes/s in the last {WINDOW_SECONDS:g} s, too slow to wait "
                    "for: try again, or name another source"
                )
            self._window_started, self._window_size = now, self._size
