"""The summary at the end of pytest's output: what was measured, and every verdict."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.checks.format import counted
from pytest_llm.records import Verdict
from pytest_llm.records.units import BYTES
from pytest_llm.reports.heading import heading
from pytest_llm.reports.rows import rows, verdicts
from pytest_llm.reports.table import flush_left, titles_of
from pytest_llm.reports.variants import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.reports.document import Results, TestEntry
    from pytest_llm.reports.rows import Row

_COLOURS = {
    **dict.fromkeys((Verdict.DRIFT, Verdict.UNRECORDED, Verdict.INCONCLUSIVE), "yellow"),
    **dict.fromkeys((Verdict.NO_BASELINE, Verdict.NOT_COVERED), "yellow"),
    **dict.fromkeys((Verdict.IMPROVED, Verdict.PASS), "green"),
}
_FOOTPRINTS = {"weights": "weights", "kv": "KV cache", "recurrent": "recurrent state"}
_PLACES = {"host": "", "device": " on the device"}


class Line(NamedTuple):
    """A line of the summary.

    Attributes:
        text: Without the verdict.
        verdict: Stands behind it; "" if there is none.
        colour: Of the verdict; "" is none.
    """

    text: str
    verdict: str = ""
    colour: str = ""

    def __str__(self) -> str:
        return f"{self.text}{self.verdict}"


def render(files: Sequence[Results]) -> str:
    """Return why tests of results files failed, and the summaries, as one text, as wide as the terminal."""
    return "\n\n".join("\n".join([*_messages(each), *map(str, summary(each, columns()))]) for each in files)


def columns() -> int:
    """Return how wide the terminal is, as pytest finds it: 80 without one."""
    return shutil.get_terminal_size((80, 24)).columns


def _messages(results: Results) -> list[str]:
    return [line for test in results.tests if test.message for line in (f"{test.nodeid}:", *test.message, "")]


def summary(results: Results, width: int, verbosity: int = 0) -> list[Line]:
    """Return the lines of the summary: builds and machine, the table, remarks, what was not covered.

    Args:
        results: Of a run.
        width: The most columns of a line of the table, if that is possible; test ids are never cut.
        verbosity: Pytest's. Below 0, only tests that did not pass are shown; above 0, every metric is.
    """
    tests = [test for test in results.tests if test.metrics or test.output]
    if verbosity < 0:
        tests = [test for test in tests if not _is_green(test)]
    titles = titles_of([test.nodeid for test in tests])
    table = _table([(titles[test.nodeid], test) for test in tests], width, every=verbosity > 0)
    told = [
        *(f"{titles[test.nodeid]}: {note}" for test in tests for note in _remarks(test, results)),
        *(dict.fromkeys(line for test in tests for line in _footprint(test)) if verbosity >= 0 else ()),
        *(f"not covered: {each.nodeid}: {each.reason}" for each in results.not_covered),
    ]
    beside = lines_of(results)
    if beside:
        told = [*told, "", *beside]
    return [*(map(Line, heading(results)) if verbosity >= 0 else ()), *table, *map(Line, told)]


def _remarks(test: TestEntry, results: Results) -> list[str]:
    """Return the notes that stand neither in the message of a failure nor below what is not covered."""
    told = [each.strip() for each in test.message]
    reasons = [each.reason for each in results.not_covered if each.nodeid == test.nodeid]
    return [note for note in test.notes if note not in told and not any(each in note for each in reasons)]


def _is_green(test: TestEntry) -> bool:
    return test.outcome == "passed" and all(
        each in (Verdict.PASS, Verdict.IMPROVED) for each in verdicts(test)
    )


def _table(tests: Sequence[tuple[str, TestEntry]], width: int, *, every: bool) -> list[Line]:
    """Return the table in the widest layout whose rows fit."""
    asked = [(title, test, rows(test, every=every)) for title, test in tests]
    flat = [row for _, _, found in asked for row in found]
    for lay_out in (_one_line, _two_lines, _four_lines):
        head, lines = lay_out(flat)
        if all(len(str(line)) <= width for each in lines for line in each):
            break
    found = list(map(Line, head)) if flat else []
    for title, test, own in asked:
        found.append(_title(title, test))
        found += [line for _ in own for line in lines.pop(0)]
    return found


def _title(title: str, test: TestEntry) -> Line:
    """Return the line above a test's rows, with what concerns none of them."""
    count = sum(not each.expected for each in test.unmet)
    told = [f"{counted(count, 'load option')} not in effect"] if count else []
    told += ["drift"] if Verdict.DRIFT in verdicts(test) else []
    told += [] if test.outcome else ["the test did not end"]
    return Line(f"{title}  " if told else title, ", ".join(told), "yellow")


def _one_line(found: Sequence[Row]) -> tuple[list[str], list[list[Line]]]:
    by_column = zip(_heads(found), *map(_cells, found), strict=True)
    used = [(title, *cells) for title, *cells in by_column if any(cells)]
    head, *texts = flush_left(list(zip(*used, strict=True)) or [_heads(found)])
    return [head], _with_verdicts(texts, found, lambda _: [])


def _heads(found: Sequence[Row]) -> tuple[str, str, str, str]:
    compared = {"limit": any(row.limit for row in found), "reference": any(row.reference for row in found)}
    return (
        "",
        "value (sessions)",
        ", ".join(name for name, used in compared.items() if used),
        "change (interval)",
    )


def _two_lines(found: Sequence[Row]) -> tuple[list[str], list[list[Line]]]:
    texts = flush_left([(f"  {row.metric}", row.value) for row in found]) if found else []
    return [], _with_verdicts(texts, found, lambda row: [", ".join(_compared(row))])


def _four_lines(found: Sequence[Row]) -> tuple[list[str], list[list[Line]]]:
    texts = flush_left([(f"  {row.metric}",) for row in found]) if found else []
    return [], _with_verdicts(texts, found, lambda row: [row.value, *_compared(row)])


def _with_verdicts(
    texts: Sequence[str], found: Sequence[Row], below: Callable[[Row], list[str]]
) -> list[list[Line]]:
    """Return the lines of each row: the first with its verdict, in one column, and those below it."""
    width = max(map(len, texts), default=0)
    return [
        [
            Line(f"{text.ljust(width)}  ", row.verdict.value, _COLOURS.get(row.verdict, "red"))
            if row.verdict is not None
            else Line(text),
            *(Line(f"    {each}") for each in below(row) if each),
        ]
        for text, row in zip(texts, found, strict=True)
    ]


def _cells(row: Row) -> tuple[str, str, str, str]:
    compared = ", ".join(filter(None, (row.limit, row.reference)))
    return f"  {row.metric}", row.value, compared, row.change


def _compared(row: Row) -> list[str]:
    """Return what stands below a row where no head names the columns."""
    reference = f"from {row.reference}" if row.reference else ""
    return [each for each in (row.limit, reference, row.change) if each]


def _footprint(test: TestEntry) -> list[str]:
    """Return a line with the bytes that were predicted beside those that llama.cpp logged."""
    memory: Mapping[str, Any] = test.memory or {}
    parts = [
        f"{title}{where} {BYTES.format(each['logged'][place])} "
        f"(predicted {BYTES.format(each['predicted'][place])})"
        for name, title in _FOOTPRINTS.items()
        for each in (memory.get(name),)
        if each and each["logged"] and each["predicted"]
        for place, where in _PLACES.items()
        if each["logged"][place] or each["predicted"][place]
    ]
    if not parts or test.model is None:
        return []
    return [f"memory of {test.model.name}, n_ctx={test.load_options.n_ctx}: {', '.join(parts)}"]
