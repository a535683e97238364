"""Letters and words for passed benchmarks of which more is to be said; they count as passed all the same.

A failed one keeps what pytest shows of it. This module loads in every run of pytest and imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    Status = tuple[str, str, tuple[str, dict[str, bool]]]

# The property of a test's report that holds its worst verdict.
WORST = "llm_verdict"

_SHOWN = {
    "drift": ("d", "DRIFT", "yellow"),
    "inconclusive": ("?", "INCONCLUSIVE", "yellow"),
    "no baseline": ("b", "NO BASELINE", "yellow"),
    "not covered": ("n", "NOT COVERED", "yellow"),
    "improved": ("+", "IMPROVED", "green"),
}


def of(report: pytest.TestReport) -> Status | None:
    """Return category, letter and word of a report, or None to leave them to pytest."""
    if report.when != "call" or not report.passed:
        return None
    worst = next((value for name, value in report.user_properties if name == WORST), None)
    if worst not in _SHOWN:
        return None
    letter, word, colour = _SHOWN[str(worst)]
    return "passed", letter, (word, {colour: True})
