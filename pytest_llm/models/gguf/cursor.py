"""Cursor over an untrusted file.

It holds one window of the file, or one string that lies within it. The file is read, not mapped: truncating a
mapped file kills the process. It is read at positions: the processes that have a descriptor share its place.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from pytest_llm.errors import ModelHeaderError

if TYPE_CHECKING:
    from pathlib import Path

# The largest published headers (262,144 tokens with their merges) take some 16 MiB.
MAX_HEADER_BYTES = 2**28

_WINDOW = 2**20
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Cursor:
    """Reads little-endian values one after the other; ``at`` is the next byte of the file.

    Every reading method raises ModelHeaderError if the value does not fit the file or the largest header.
    """

    def __init__(self, descriptor: int, size: int, path: Path) -> None:
        self.at = 0
        self.size = size
        self._descriptor = descriptor
        self._path = path
        self._window = b""
        self._start = 0

    def refusal(self, reason: str, at: int | None = None) -> ModelHeaderError:
        """Return an error about a byte, by default the next one."""
        return ModelHeaderError(self._path, self.at if at is None else at, reason)

    @property
    def remaining(self) -> int:
        return self.size - self.at

    def check_claim(self, what: str, count: int, width: int, at: int) -> None:
        """Refuse a count that exceeds the rest of the file; each thing takes ``width`` bytes or more."""
        if count > self.remaining // width:
            reason = f"{count} {what} are claimed, but only {self.remaining} bytes are left"
            raise self.refusal(reason, at)

    def take(self, count: int, what: str) -> bytes:
        begin = self._reserve(count, what)
        self.at += count
        return self._window[begin : begin + count]

    def unpack(self, layout: struct.Struct, what: str) -> tuple[int | float, ...]:
        begin = self._reserve(layout.size, what)
        self.at += layout.size
        return layout.unpack_from(self._window, begin)

    def u32(self, what: str) -> int:
        return int(self.unpack(_U32, what)[0])

    def u64(self, what: str) -> int:
        return int(self.unpack(_U64, what)[0])

    def text(self, what: str, longest: int) -> str:
        """Return the next string, of at most ``longest`` bytes of UTF-8."""
        start = self.at
        found = self.short_text(what, longest)
        if found is None:
            length, self.at = self.at - start - _U64.size, start
            raise self.refusal(f"{what} has {length} bytes, at most {longest} are allowed")
        return found

    def short_text(self, what: str, longest: int) -> str | None:
        """Return the next string; None, without reading it, if it has more than ``longest`` bytes."""
        start = self.at
        length = self.u64(f"the length of {what}")
        self.check_claim(f"bytes of {what}", length, 1, start)
        if length > longest:
            self.skip(length, what)
            return None
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError as error:
            at = start + _U64.size + error.start
            raise self.refusal(f"{what} is not UTF-8", at) from None

    def skip(self, count: int, what: str) -> None:
        """Pass over bytes without reading them."""
        self._check(count, what)
        self.at += count

    def skip_strings(self, count: int, what: str) -> None:
        """Pass over strings, reading their lengths only."""
        # Vocabularies have hundreds of thousands of strings: no calls or attributes in this loop.
        unpack, width = _U64.unpack_from, _U64.size
        while count:
            offset = last = self._reserve(width, what)
            window = self._window
            end = len(window) - width
            while count and offset <= end:
                last = offset
                offset += width + unpack(window, offset)[0]
                count -= 1
            self.at = self._start + last
            self.skip(offset - last, what)

    def _reserve(self, count: int, what: str) -> int:
        """Load the next ``count`` bytes into the window and return their offset in it."""
        self._check(count, what)
        begin = self.at - self._start
        if begin < 0 or begin + count > len(self._window):
            self._fill(count, what)
            return 0
        return begin

    def _check(self, count: int, what: str) -> None:
        if count > self.remaining:
            raise self.refusal(f"the file ends inside {what}")
        if self.at + count > MAX_HEADER_BYTES:
            raise self.refusal(f"the header takes more than {MAX_HEADER_BYTES} bytes")

    def _fill(self, count: int, what: str) -> None:
        wanted = min(max(count, _WINDOW), self.remaining)
        parts, have = [], 0
        try:
            while have < wanted and (part := os.pread(self._descriptor, wanted - have, self.at + have)):
                parts.append(part)
                have += len(part)
        except OSError as error:
            raise self.refusal(f"it cannot be read: {error.strerror}") from None
        if have < count:
            raise self.refusal(f"the file shrank while it was read, inside {what}")
        self._window, self._start = b"".join(parts), self.at
