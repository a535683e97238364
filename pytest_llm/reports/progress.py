"""Progress of a measurement: a line that renews itself or, in a log, one line a session."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from pytest_llm.records import LoadOptions
from pytest_llm.records.units import duration
from pytest_llm.system.text import clean, clean_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.records import Subject

# Of which a machine and a suite have one value.
_COMMON = ("n_ctx", "n_threads", "n_threads_batch")


class ProgressDisplay:
    """Shows progress in lines of text: a :class:`~pytest_llm.records.protocols.Progress`."""

    def __init__(
        self,
        write: Callable[[str], None],
        renew: Callable[[str], None] | None = None,
        sessions_in_all: int = 0,
    ) -> None:
        """Begin.

        Args:
            write: Writes a line that stays.
            renew: Shows a line in place of the last one; None if lines cannot be renewed, as in a log.
            sessions_in_all: Sessions of all campaigns together; 0 if unknown.
        """
        self.write: Callable[[str], None] = lambda line: write(clean_lines(line))
        self._renew = None if renew is None else (lambda line: renew(clean(line)))
        self._sessions_in_all = sessions_in_all
        self._spent: list[float] = []

    @classmethod
    def on(cls, stream: TextIO, sessions_in_all: int = 0) -> ProgressDisplay:
        """Return a display on a stream; lines are renewed only on a terminal."""

        def write(line: str) -> None:
            stream.write(f"{line}\n")
            stream.flush()

        def renew(line: str) -> None:
            stream.write(f"\r\x1b[K{line}")
            stream.flush()

        return cls(write, renew if stream.isatty() else None, sessions_in_all)

    def session_started(self, subject: Subject, number: int, of: int) -> None:
        """Show which session runs and, by the time that the earlier ones took, how long the rest takes."""
        if number == 1 and not self._sessions_in_all:
            self._spent = []
        if self._renew is not None:
            left = self._sessions_in_all - len(self._spent) if self._sessions_in_all else of - number + 1
            self._renew(f"  {_name(subject)}: session {number} of {of}{self._left(left)}")

    def session_ended(self, subject: Subject, number: int, of: int, seconds: float) -> None:
        """Write a line if lines cannot be renewed."""
        self._spent.append(seconds)
        if self._renew is None:
            left = self._left(self._sessions_in_all - len(self._spent)) if self._sessions_in_all else ""
            self.write(f"  {_name(subject)}: session {number} of {of} took {seconds:.1f} s{left}")

    def replanned(
        self, subject: Subject, planned: float, seconds: float, left: Sequence[tuple[int, float]]
    ) -> None:
        """Write that sessions take longer or shorter than planned, and how long so many take from now."""
        until = ", ".join(f"{duration(each)} to session {number}" for number, each in left)
        self.write(
            f"  {_name(subject)}: a session takes {duration(seconds)}, not {duration(planned)} as planned: "
            f"about {until}"
        )

    def campaign_ended(self) -> None:
        """Remove the line."""
        if self._renew is not None:
            self._renew("")

    def waiting(self, holder: str) -> None:
        """Name the run that this one waits for."""
        self._show(f"  waiting: {holder}")

    def untimed(self, subject: Subject, doing: str, number: int = 0, of: int = 0) -> None:
        """Show work that takes minutes and is not timed."""
        line = f"  {_name(subject)}: {doing}"
        if self._renew is not None:
            self._renew(f"{line}: {number} of {of} readings" if of else line)
        elif not number:
            self.write(line)

    def preparing(self, doing: str) -> None:
        """Write what is made before anything can be measured."""
        self.write(f"  {doing}")

    def _show(self, line: str) -> None:
        (self._renew or self.write)(line)

    def _left(self, sessions: int) -> str:
        if not self._spent:
            return ""
        seconds = sum(self._spent) / len(self._spent) * sessions
        return f", about {seconds:.0f} s left{' in all' if self._sessions_in_all else ''}"


def _name(subject: Subject) -> str:
    """Return the model, with the load options that make it another variant of a sweep."""
    usual = {name: getattr(subject.load_options, name) for name in _COMMON}
    apart = subject.load_options.apart(replace(LoadOptions(), **usual))
    return f"{subject.model} with {apart}" if apart else subject.model
