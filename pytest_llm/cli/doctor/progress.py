"""Tells how far a command that measures is: a line that renews itself, or one line a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pytest_llm.records import Subject


class Progress:
    """Writes to standard error; see :class:`pytest_llm.records.protocols.Preparing`."""

    def __init__(self, stream: TextIO, sessions: int) -> None:
        """Begin.

        Args:
            stream: Where to.
            sessions: How many there will be in all.
        """
        self._stream = stream
        self._sessions = sessions
        self._spent: list[float] = []
        self._doing = ""

    def begin(self, doing: str) -> None:
        """Say what the next sessions are for."""
        self._doing = doing
        self._write(doing)

    def session_started(self, subject: Subject, number: int, of: int) -> None:  # noqa: ARG002
        """Renew the line."""
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K  session {number} of {of}{self._left()}")
            self._stream.flush()

    def session_ended(self, subject: Subject, number: int, of: int, seconds: float) -> None:  # noqa: ARG002
        """Write a line where lines cannot be renewed."""
        self._spent.append(seconds)
        if not self._stream.isatty():
            self._write(f"  session {number} of {of} took {seconds:.1f} s{self._left()}")

    def campaign_ended(self) -> None:
        """Take the line away."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def waiting(self, holder: str) -> None:
        """Say for whom this command waits."""
        self._write(f"waiting: {holder}")

    def looking(self, subject: Subject, at: str, number: int = 0, of: int = 0) -> None:  # noqa: ARG002
        """Renew the line."""
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K  {at}")
            self._stream.flush()

    def preparing(self, doing: str) -> None:
        """Say what is made before anything can be measured."""
        self._write(doing)

    def _left(self) -> str:
        if not self._spent:
            return ""
        left = self._sessions - len(self._spent)
        return f", about {left * sum(self._spent) / len(self._spent):.0f} s left in all"

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()
