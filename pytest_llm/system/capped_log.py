"""Log of a program that keeps its beginning and its end."""

from __future__ import annotations

KEPT_BYTES = 2**19  # at the beginning, and as many at the end; a load writes a quarter of that


class CappedLog:
    """What a program has written, however much that was."""

    def __init__(self, kept: int = KEPT_BYTES) -> None:
        self._kept = kept
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0  # bytes, those left out as well

    def append(self, data: bytes) -> None:
        self.size += len(data)
        room = self._kept - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._kept:
            del self._tail[: -self._kept]

    def text(self, since: int = 0) -> str:
        """Return what is left of it after the first ``since`` bytes; a line says how much is left out."""
        tail_at = max(since, self.size - min(len(self._tail), self._kept))
        head = bytes(self._head[since:])
        tail = bytes(self._tail[len(self._tail) - (self.size - tail_at) :]) if tail_at < self.size else b""
        left_out = tail_at - max(since, len(self._head))
        gap = f"\n[{left_out} bytes are left out]\n".encode() if left_out > 0 else b""
        return (head + gap + tail).decode(errors="replace")
