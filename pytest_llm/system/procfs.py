"""Files that the kernel renews at every read."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ENOUGH = 4096  # bytes; every such file begins with the wanted part


class KernelFile:
    """One such file, kept open because opening costs more than reading, between slices."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError: It does not exist, or may not be read.
        """
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)

    def read(self) -> str:
        """Return the file's beginning now, "" if it does not exist any more."""
        try:
            return os.pread(self._handle, _ENOUGH, 0).decode(errors="replace")
        except OSError:
            return ""


def moved(before: list[str], now: list[str]) -> bool:
    """Whether any counter reads differently now; one that cannot be read has not moved."""
    return any(then and new and then != new for then, new in zip(before, now, strict=True))


def read_word(path: Path) -> str | None:
    """Return a small file's text without white space around it, None if it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip()
    return None


def parse_list(text: str) -> frozenset[int]:
    """Return the numbers of the kernel's list format: "0-3,8" holds 0, 1, 2, 3 and 8.

    Raises:
        ValueError: It is no such list.
    """
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)
