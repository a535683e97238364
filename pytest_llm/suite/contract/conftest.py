"""Summary of the contract suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.suite import summary

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write older names, known faults and what is not covered."""
    found = summary.reports(terminalreporter, "contract")
    if not found:
        return
    build = ", ".join(summary.noted(found, summary.BUILD)) or "no build"
    terminalreporter.write_sep("=", f"llm contract: {build}")
    older = summary.noted(found, summary.OLDER_NAME)
    if older:
        terminalreporter.write_line(f"under older names: {', '.join(older)}")
    summary.write(terminalreporter, "known faults", summary.known_faults(found))
    summary.write(terminalreporter, "not covered", summary.not_covered(found))
