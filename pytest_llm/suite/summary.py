"""What the tests of a suite noted, for what is told at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NOT_COVERED = "Skipped: not covered: "
# What tests note down; plain texts, which travel between processes.
SUITE = "llm_suite"


def mark(items: list[pytest.Item], folder: Path, suite: str) -> None:
    """Note of which suite the tests of a folder are."""
    for item in items:
        if item.path.parent == folder:
            item.user_properties.append((SUITE, suite))


def reports(terminalreporter: pytest.TerminalReporter, suite: str) -> list[pytest.TestReport]:
    """Return how the tests of a suite ended, those of any other left out."""
    return [
        report
        for outcome in ("passed", "failed", "skipped", "xfailed")
        for report in terminalreporter.stats.get(outcome, ())
        if isinstance(report, pytest.TestReport) and (SUITE, suite) in _properties(report)
    ]


def noted(found: list[pytest.TestReport], name: str) -> list[str]:
    """Return what tests noted under a name."""
    return [str(value) for report in found for key, value in _properties(report) if key == name]


def known_faults(found: list[pytest.TestReport]) -> list[str]:
    """Return what was expected to be broken and is."""
    return _once(str(getattr(report, "wasxfail", "")).removeprefix("reason: ") for report in found)


def not_covered(found: list[pytest.TestReport]) -> list[str]:
    """Return why tests were skipped."""
    return _once(
        report.longrepr[2].removeprefix(_NOT_COVERED)
        for report in found
        if report.skipped and isinstance(report.longrepr, tuple)
    )


def tell(terminalreporter: pytest.TerminalReporter, title: str, lines: list[str]) -> None:
    """Write some lines below their title, if there are any."""
    if lines:
        terminalreporter.write_line("\n  ".join([f"{title}:", *lines]))


def _once(lines: Iterator[str]) -> list[str]:
    return sorted({line for line in lines if line})


def _properties(report: pytest.TestReport) -> list[tuple[str, object]]:
    return [(key, value) for key, value in report.user_properties]  # lists, where they have travelled
