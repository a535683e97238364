"""A report in Markdown, for the summary of a CI job and for a comment on a pull request.

The verdict comes first, then why tests failed, then a table. All of it fits a comment of GitHub, which takes
65,536 characters; what does not fit is counted.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.format import counted
from pytest_llm.records import Verdict
from pytest_llm.reports.heading import heading
from pytest_llm.reports.rows import failed, failing_lines, rows, shortfall, verdicts, worst
from pytest_llm.reports.table import titles_of
from pytest_llm.reports.variants import lines_of
from pytest_llm.system.text import LONGEST_LINE, clean, markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_llm.reports.document import Results, TestEntry

# By which the comment of an earlier run is found.
MARK = "<!-- pytest-llm-bench -->"
# GitHub counts 65,536; the rest is for what counts what was left out.
_LONGEST = 64_000
_COLUMNS = ("test", "metric", "value (sessions)", "reference", "change (interval)", "limit", "verdict")
_HEAD = f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}"
_UNFINISHED = "**unfinished**: pytest still runs, or was killed; tests and sessions may be missing"


class _Part(NamedTuple):
    """The blocks of a part that there was room for, and a line that counts the others."""

    blocks: Sequence[str]
    rest: Sequence[str]

    def __len__(self) -> int:
        return sum(len(each) + 2 for each in (*self.blocks, *self.rest))


def render(files: Sequence[Results]) -> str:
    """Return the report on one or more results files."""
    tests = [test for each in files for test in each.tests]
    first = _Part([MARK, f"## {_head(tests, shortfall(files))}", *_where(files)], ())
    room = _LONGEST - len(first)
    # Half of the room for each, so that none pushes the next one out.
    failures = _fitting(map(_failure, failed(tests)), room // 2, "failed test", "see the log of pytest")
    table = _fitting(_lines(tests), (room - len(failures)) // 2, "test", "see the results file")
    beside = _fitting(
        (_fenced(found) for each in files if (found := lines_of(each))),
        (room - len(failures) - len(table)) // 2,
        "table of variants",
        "see the results file",
    )
    room -= len(failures) + len(table) + len(beside) + len(_HEAD)
    reasons = [
        f"- {markdown(f'{each.nodeid}: {each.reason}')}" for file in files for each in file.not_covered
    ]
    missing = _fitting(reasons, room, "line", "see the results file")
    return "\n\n".join(
        [
            *first.blocks,
            *failures.blocks,
            *failures.rest,
            *(["\n".join([_HEAD, *table.blocks])] if table.blocks else []),
            *table.rest,
            *beside.blocks,
            *beside.rest,
            *(["Not covered:", "\n".join(missing.blocks)] if missing.blocks else []),
            *missing.rest,
        ]
    )


def _head(tests: Sequence[TestEntry], lacking: str) -> str:
    broken = failed(tests)
    found = worst([verdict for test in broken if test.failed_by_verdict for verdict in verdicts(test)])
    if not broken:
        kinds = Counter(worst(verdicts(test)) or "measured" for test in tests)
        parts = ", ".join(f"{count} {_word(kind)}" for kind, count in _worst_first(kinds))
        sign, lacking = ("⚠️", f"{lacking}, ") if lacking else ("✅", "")
        of_them = f" ({parts})" if parts else ""
        return f"{sign} llm-bench: {lacking}{counted(len(tests), 'test')}, none failed{of_them}"
    return f"❌ llm-bench: {_word(found or 'failed')}, {len(broken)} of {counted(len(tests), 'test')} failed"


def _worst_first(kinds: Counter[Verdict | str]) -> list[tuple[Verdict | str, int]]:
    order: list[Verdict | str] = [*Verdict, "measured"]
    return sorted(kinds.items(), key=lambda each: order.index(each[0]))


def _word(kind: Verdict | str) -> str:
    return kind.value if isinstance(kind, Verdict) else kind


def _where(files: Sequence[Results]) -> list[str]:
    lines = [line for each in files for line in (*heading(each), *([] if each.finished else [_UNFINISHED]))]
    return ["  \n".join(line if line == _UNFINISHED else markdown(line) for line in dict.fromkeys(lines))]


def _failure(test: TestEntry) -> str:
    return f"**{markdown(test.nodeid)}**\n\n{_fenced(failing_lines(test))}"


def _fenced(lines: Iterable[str]) -> str:
    text = "\n".join(clean(line, LONGEST_LINE) for line in lines)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def _lines(tests: Sequence[TestEntry]) -> Iterator[str]:
    titles = titles_of([test.nodeid for test in tests])
    return filter(None, (_line(titles[test.nodeid], test) for test in tests))


def _line(title: str, test: TestEntry) -> str:
    lines = []
    for row in rows(test):
        verdict = row.verdict.value if row.verdict is not None else ""
        cells = (title, row.metric, row.value, row.reference, row.change, row.limit, verdict)
        lines.append(f"| {' | '.join(map(markdown, cells))} |")
        title = ""
    return "\n".join(lines)


def _fitting(blocks: Iterable[str], room: int, what: str, where: str) -> _Part:
    kept: list[str] = []
    left_out = 0
    for block in blocks:
        room -= len(block) + 2
        if room < 0 or left_out:
            left_out += 1
        else:
            kept.append(block)
    return _Part(kept, [f"… and {counted(left_out, f'more {what}')}: {where}"] if left_out else [])
