"""``pytest-llm report``: recompute the verdicts of results files, and print reports on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.cli import command
from pytest_llm.errors import ResultsError
from pytest_llm.records.serialization import encode
from pytest_llm.reports import recheck, render

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_llm.reports.document import Results

_TERMINAL = "terminal"
_UNFINISHED = "unfinished: pytest still runs, or was killed; tests and sessions may be missing"

_TEXT = command.Text(
    summary="recompute every verdict of results files, and print reports on them",
    more="Every value, interval and verdict follows from the file's series, to the last bit.",
    statuses="0; 1 if a value or verdict differs from what its series give",
    example="pytest-llm report results.json",
)


def add_to(parser: argparse.ArgumentParser) -> None:
    command.describe(parser, _TEXT, run)
    command.add_results_to(parser)
    parser.add_argument(
        "--format",
        metavar="REPORT",
        default=_TERMINAL,
        help="report to print: json, terminal (pytest's summary), or one of an extension "
        "(default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> command.Answer:
    lines: list[str] = []
    documents = []
    for path in arguments.results:
        results, wrong = recheck.read(path)
        lines += [""] if lines else []
        if arguments.format == _TERMINAL:
            lines += _summary(path, results, wrong)
        else:
            lines.append(render(arguments.format, recheck.sound(path, results, wrong)))
        documents.append({"file": str(path), "differences": wrong, "tests": encode(results.tests)})
    differs = any(each["differences"] for each in documents)
    return command.Answer(int(differs), lines, documents, exact=arguments.format != _TERMINAL)


def _summary(path: Path, results: Results, wrong: Sequence[str]) -> list[str]:
    try:
        with recheck.odd_numbers("it cannot be shown"):
            shown = render(_TERMINAL, results)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None
    return [
        f"{path} of {results.started}",
        *([] if results.finished else [_UNFINISHED]),
        shown,
        *(f"not what its series say: {each}" for each in wrong),
        *([] if wrong else ["every value and verdict follows from the series in the file"]),
    ]
