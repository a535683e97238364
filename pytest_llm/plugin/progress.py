"""Says what is happening while nothing else does: a line that renews itself, or one line a session."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pytest
    from _pytest.capture import CaptureManager

    from pytest_llm.records import Subject


class Progress:
    """Tells a terminal, or a log, how far a campaign is: a :class:`.Preparing`."""

    def __init__(self, config: pytest.Config) -> None:
        """Write through pytest's own reporter, if there is one."""
        manager = config.pluginmanager
        self._reporter: pytest.TerminalReporter | None = manager.get_plugin("terminalreporter")
        self._capture: CaptureManager | None = manager.get_plugin("capturemanager")
        self._spent: list[float] = []

    def session_started(self, subject: Subject, number: int, of: int) -> None:
        """Show which session runs, and how long the rest will take by what the others took."""
        if number == 1:
            self._spent = []
        left = ""
        if self._spent:
            seconds = sum(self._spent) / len(self._spent) * (of - number + 1)
            left = f", about {seconds:.0f} s left"
        self._renew(f"  {subject.model}: session {number} of {of}{left}")

    def session_ended(self, subject: Subject, number: int, of: int, seconds: float) -> None:
        """Write a line where lines cannot be renewed."""
        self._spent.append(seconds)
        self._write(f"  {subject.model}: session {number} of {of} took {seconds:.1f} s")

    def campaign_ended(self) -> None:
        """Take the line away."""
        self._renew("")

    def waiting(self, holder: str) -> None:
        """Say for whom this run waits."""
        line = f"  waiting: {holder}"
        self._renew(line)
        self._write(line)

    def preparing(self, doing: str) -> None:
        """Say what is made before anything can be measured."""
        self._write_line(f"  {doing}")

    def looking(self, subject: Subject, at: str, number: int = 0, of: int = 0) -> None:
        """Show what is looked at: minutes may go by in which nothing is timed."""
        line = f"  {subject.model}: {at}"
        self._renew(f"{line}: {number} of {of} readings" if of else line)
        if not number:
            self._write(line)

    def _renew(self, line: str) -> None:
        if self._reporter is not None and self._reporter.isatty:
            with self._uncaptured():
                self._reporter.rewrite(line, erase=True)

    def _write(self, line: str) -> None:
        if self._reporter is not None and not self._reporter.isatty:
            self._write_line(line)

    def _write_line(self, line: str) -> None:
        if self._reporter is not None:
            with self._uncaptured():
                self._reporter.ensure_newline()
                self._reporter.write_line(line)

    def _uncaptured(self) -> AbstractContextManager[None]:
        # Without this, what is written during a test's set-up counts as the test's own output.
        return self._capture.global_and_fixture_disabled() if self._capture else nullcontext()
