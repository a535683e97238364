"""Summary of a suite at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_COVERED = "Skipped: not covered: "
# Names of user properties, which pytest-xdist carries between processes.
SUITE = "llm_suite"
BUILD = "llm_contract_build"
OLDER_NAME = "llm_contract_older_name"
MEMORY = "llm_memory"


def reports(terminalreporter: pytest.TerminalReporter, suite: str) -> list[pytest.TestReport]:
    return [
        report
        for outcome in ("passed", "failed", "skipped", "xfailed")
        for report in terminalreporter.stats.get(outcome, ())
        if isinstance(report, pytest.TestReport) and (SUITE, suite) in _properties(report)
    ]


def noted(found: list[pytest.TestReport], name: str) -> list[str]:
    return [str(value) for report in found for key, value in _properties(report) if key == name]


def known_faults(found: list[pytest.TestReport]) -> list[str]:
    """Return the reasons of expected failures."""
    return _once(str(getattr(report, "wasxfail", "")).removeprefix("reason: ") for report in found)


def not_covered(found: list[pytest.TestReport]) -> list[str]:
    """Return the reasons of skipped tests."""
    return _once(
        report.longrepr[2].removeprefix(_NOT_COVERED)
        for report in found
        if report.skipped and isinstance(report.longrepr, tuple)
    )


def write(terminalreporter: pytest.TerminalReporter, title: str, lines: list[str]) -> None:
    if lines:
        terminalreporter.write_line("\n  ".join([f"{title}:", *map(clean, lines)]))


def _once(lines: Iterator[str]) -> list[str]:
    return sorted({line for line in lines if line})


def _properties(report: pytest.TestReport) -> list[tuple[str, object]]:
    return [(key, value) for key, value in report.user_properties]  # lists after pytest-xdist
