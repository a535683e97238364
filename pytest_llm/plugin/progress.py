"""Progress through pytest's own terminal reporter."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from pytest_llm.reports.progress import ProgressDisplay

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from _pytest.capture import CaptureManager


def progress_of(config: pytest.Config) -> ProgressDisplay:
    """Return a display that writes through pytest's reporter; it writes nothing if there is none."""
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    capture: CaptureManager | None = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None:
        return ProgressDisplay(lambda _: None)

    @contextmanager
    def uncaptured() -> Iterator[None]:
        streams = sys.stdout, sys.stderr  # a doctest's own, say, which pytest would not put back
        try:
            # Without this, what is written during a test's set-up counts as the test's own output.
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                yield
        finally:
            sys.stdout, sys.stderr = streams

    def write(line: str) -> None:
        with uncaptured():
            reporter.ensure_newline()
            reporter.write_line(line)

    def renew(line: str) -> None:
        with uncaptured():
            reporter.rewrite(line, erase=True)

    return ProgressDisplay(write, renew if reporter.isatty else None)
