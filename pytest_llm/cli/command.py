"""Declaration and answer of a command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.system.text import clean_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Answer(NamedTuple):
    """The answer of a command."""

    status: int  # 0, or 1 as the command's help says
    lines: Sequence[str]
    document: object  # printed instead by ``--json``
    exact: bool = False  # the lines are a report that has its own form, and are printed as they are


class Text(NamedTuple):
    """The help text of a command."""

    summary: str  # one line, in the list of commands
    more: str
    statuses: str  # the meaning of exit status 0 and 1
    example: str


def add(
    commands: argparse._SubParsersAction[Any],
    name: str,
    text: Text,
    run: Callable[[argparse.Namespace], Answer],
) -> argparse.ArgumentParser:
    """Declare a command of a group and return its parser, for its own arguments."""
    return describe(commands.add_parser(name, help=text.summary, allow_abbrev=False), text, run)


def describe(
    parser: argparse.ArgumentParser, text: Text, run: Callable[[argparse.Namespace], Answer]
) -> argparse.ArgumentParser:
    """Turn a parser into that of a command: one of a group, or a group that is itself a command."""
    parser.description = f"{text.summary[0].upper()}{text.summary[1:]}. {text.more}".strip()
    parser.epilog = f"exit status: {text.statuses}; 2 for bad input.\n\nexample:\n  {text.example}"
    parser.formatter_class = _Formatter
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def add_results_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", metavar="RESULTS.json", nargs="+", type=Path, help="files that pytest --llm-json wrote"
    )


def add_cache_to(parser: argparse.ArgumentParser, contents: str) -> None:
    default = "the ini key llm_cache, PYTEST_LLM_CACHE, or the user's cache folder"
    parser.add_argument("--cache", metavar="DIR", help=f"cache folder, {contents} (default: {default})")


def on_progress(line: str) -> None:
    print(clean_lines(line), file=sys.stderr, flush=True)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the description and keeps the lines of the example."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        filled = [argparse.HelpFormatter._fill_text(self, each, width, indent) for each in paragraphs[:1]]
        return "\n\n".join([*filled, *paragraphs[1:]])
