"""Progress of what reads a whole model: lines with the bytes that are done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from pytest_llm.records.units import BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    Show: TypeAlias = "Callable[[str], None]"

SECONDS = 10.0  # until the first line, and between two


def silent(_line: str) -> None:
    """Show nothing."""


class Meter:
    """Shows every ten seconds how many bytes of a file are done; nothing of what takes less."""

    def __init__(
        self,
        doing: str,
        show: Show = silent,
        of: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            doing: What is done with which file: "hashing model.gguf".
            show: Takes a line.
            of: All bytes; None if unknown.
            clock: In seconds.
        """
        self._doing = doing
        self._show = show
        self._of = of
        self._clock = clock
        self._next = clock() + SECONDS

    def __call__(self, done: int) -> None:
        """Take the bytes that are done by now."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + SECONDS
        of = f" of {BYTES.format(self._of)}" if self._of else ""
        self._show(f"{self._doing}: {BYTES.format(done)}{of}")
