"""Annotations of GitHub at the lines of tests that failed, as commands of a workflow.

GitHub shows at most ten errors a step, so the others are only counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.format import counted
from pytest_llm.reports.rows import failed, failing_lines, shortfall, verdicts, worst
from pytest_llm.system.text import LONGEST_LINE, clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.reports.document import Results, TestEntry

MOST = 10


def render(files: Sequence[Results]) -> str:
    """Return a command a line for each test that failed, and one if that no other failed proves nothing."""
    broken = failed(test for each in files for test in each.tests)
    lines = [_annotation(each) for each in broken[:MOST]]
    if len(broken) > MOST:
        more = counted(len(broken) - MOST, "more test")
        lines.append(
            _command("notice", {"title": "llm-bench"}, [f"{more} failed: see the summary of the job"])
        )
    if reason := shortfall(files):
        lines.append(
            _command(
                "warning", {"title": "llm-bench"}, [f"{reason}: that no other test failed proves nothing"]
            )
        )
    return "\n".join(lines)


def _annotation(test: TestEntry) -> str:
    verdict = worst(verdicts(test)) if test.failed_by_verdict else None
    title = f"llm-bench: {verdict.value if verdict is not None else test.outcome}: {test.nodeid}"
    place = {"file": test.file, "line": str(test.line)} if test.file and test.line else {}
    return _command("error", {**place, "title": title}, failing_lines(test))


def _command(kind: str, properties: Mapping[str, str], lines: Sequence[str]) -> str:
    """Write a command of a workflow as @actions/core does (command.ts: escapeProperty, escapeData)."""
    written = ",".join(f"{name}={_property(text)}" for name, text in properties.items())
    return f"::{kind} {written}::{'%0A'.join(map(_data, lines))}"


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _data(text: str) -> str:
    return clean(text, LONGEST_LINE).replace("%", "%25")
