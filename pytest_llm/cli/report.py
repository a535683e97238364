"""``pytest-llm report``: recompute the verdicts of results files, and make reports on them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.cli import command
from pytest_llm.errors import ResultsError, UsageError
from pytest_llm.records.serialization import encode
from pytest_llm.reports import REPORTS, recheck, render
from pytest_llm.system import atomic_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.reports.document import Results

_TERMINAL = "terminal"
_STDOUT = "-"
_UNFINISHED = "unfinished: pytest still runs, or was killed; tests and sessions may be missing"

_TEXT = command.Text(
    summary="recompute every verdict of results files, and make reports on them",
    more="Every value, interval and verdict follows from the file's series, to the last bit. Without another "
    "report, pytest's summary is printed. A report is on all files together; FILE may be -, standard output.",
    statuses="0; 1 if a value or verdict differs from what its series give",
    example="pytest-llm report results.json --markdown summary.md",
)


def add_to(parser: argparse.ArgumentParser) -> None:
    command.describe(parser, _TEXT, run)
    command.add_results_to(parser)
    for name in REPORTS:
        if name == _TERMINAL:
            continue
        try:
            parser.add_argument(
                f"--{name}", metavar="FILE", dest=_option(name), help=f"write a {name} report"
            )
        except argparse.ArgumentError:
            raise UsageError(f"a report cannot be called {name!r}: --{name} is another option") from None


def run(arguments: argparse.Namespace) -> command.Answer:
    asked = {name: getattr(arguments, _option(name), None) for name in REPORTS}
    wanted = {name: where for name, where in asked.items() if where is not None}
    read = [(path, *recheck.read(path)) for path in arguments.results]
    documents = [
        {"file": str(path), "differences": wrong, "tests": encode(results.tests)}
        for path, results, wrong in read
    ]
    if wanted:
        sound = [recheck.sound(*each) for each in read]
        return _written({name: render(name, sound) for name in wanted}, wanted, documents)
    lines: list[str] = []
    for each in read:
        lines += [""] if lines else []
        lines += _summary(*each)
    return command.Answer(int(any(wrong for _, _, wrong in read)), lines, documents)


def _option(name: str) -> str:
    return f"report_{name}"


def _written(texts: dict[str, str], wanted: dict[str, str], documents: Sequence[object]) -> command.Answer:
    printed = [name for name, where in wanted.items() if where == _STDOUT]
    if len(printed) > 1:
        raise UsageError(f"--{printed[0]} - and --{printed[1]} -: only one report fits standard output")
    lines = []
    for name, where in wanted.items():
        if where != _STDOUT:
            atomic_file.replace(Path(where), f"{texts[name]}\n".encode())
            lines.append(f"{name} report in {where}")
    if not printed:
        return command.Answer(0, lines, documents)
    for line in lines:
        print(line, file=sys.stderr)
    return command.Answer(0, [texts[printed[0]]], documents, exact=True)


def _summary(path: Path, results: Results, wrong: Sequence[str]) -> list[str]:
    try:
        with recheck.odd_numbers("it cannot be shown"):
            shown = render(_TERMINAL, [results])
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None
    return [
        f"{path} of {results.started}",
        *([] if results.finished else [_UNFINISHED]),
        shown,
        *(f"not what its series say: {each}" for each in wrong),
        *([] if wrong else ["every value and verdict follows from the series in the file"]),
    ]
