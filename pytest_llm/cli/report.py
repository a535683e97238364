"""``pytest-llm report``: what results files hold, every verdict computed anew from the series in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.cli import command
from pytest_llm.reports import results_schema
from pytest_llm.reports.recheck import differences
from pytest_llm.reports.terminal import summary

if TYPE_CHECKING:
    import argparse

_TEXT = command.Text(
    summary="recompute every verdict of results files, and print their summary",
    more="Every value, interval and verdict follows from the file's series, to the last bit.",
    statuses="0; 1 if a value or verdict differs from what its series give",
    example="pytest-llm report results.json",
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    command.describe(parser, _TEXT, run)
    parser.add_argument(
        "results", metavar="RESULTS.json", nargs="+", type=Path, help="files that pytest --llm-json wrote"
    )


def run(arguments: argparse.Namespace) -> command.Answer:
    """Judge each file again, and tell it as pytest's summary did."""
    lines: list[str] = []
    documents = []
    for path in arguments.results:
        results = results_schema.read(path)
        wrong = differences(results)
        lines += [*([""] if lines else []), f"{path} of {results['started']}", *summary(results)]
        lines += [f"not what its series say: {each}" for each in wrong]
        lines += [] if wrong else ["every value and verdict follows from the series in the file"]
        documents.append({"file": str(path), "differences": wrong, "tests": results["tests"]})
    return command.Answer(int(any(each["differences"] for each in documents)), lines, documents)
