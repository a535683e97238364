"""The command ``pytest-llm``: each group of commands is a module and a line in ``GROUPS``.

A group's module has ``add_to(parser)``, which gives its parser commands (see ``command.add``). It is imported
only when its group is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from pytest_llm import __version__
from pytest_llm.errors import LLMBenchError, UsageError
from pytest_llm.system.text import LONGEST_LINE, clean, clean_lines, json_without_commands

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_llm.cli.command import Answer

GROUPS = {
    "agree": "check an adapter against the tool that runs here",
    "baselines": "show, compare, accept, move, merge and prune stored baselines",
    "bisect": "find the builds that made a test slower or changed its output",
    "builds": "list, make, remove and look up builds of llama.cpp",
    "compare": "compare models, load options and builds side by side",
    "doctor": "check if this machine is fit to measure, and name what to change",
    "init": "write the first suite of a model, with limits from this machine",
    "models": "list, fetch, verify, make and pin models",
    "overhead": "what a tool around llama.cpp costs over llama-server",
    "pin": "print the build of llama.cpp that a file pins",
    "report": "recompute every verdict of results files, and make reports on them",
}

PROGRAM = "pytest-llm"
_USAGE_ERROR = 2
# A shell's statuses of a process that SIGINT, SIGPIPE or SIGTERM ended.
_INTERRUPTED, _NOBODY_READS, _TERMINATED = 130, 141, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 as the command's help says, 2 for bad input."""
    try:
        with _terminable():
            return _run(sys.argv[1:] if arguments is None else list(arguments))
    except LLMBenchError as error:
        print(f"{PROGRAM}: {clean(error, LONGEST_LINE)}", file=sys.stderr)
        return _USAGE_ERROR
    except BrokenPipeError:
        _forget_output()
        return _NOBODY_READS
    except OSError as error:
        _forget_output()
        print(f"{PROGRAM}: {clean(error, LONGEST_LINE)}", file=sys.stderr)
        return _USAGE_ERROR
    except _Terminated:
        return _TERMINATED
    except KeyboardInterrupt:
        return _INTERRUPTED


class _Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM end the command and the programs it started, as SIGINT does."""

    def end(*_: object) -> NoReturn:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _forget_output() -> None:
    """Discard buffered output, which would raise again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: list[str]) -> int:
    found = _parse(words)
    answer: Answer = found.run(found)
    _write(answer, found.json)
    return answer.status


def parser(asked: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only the group asked for has its commands."""
    whole = _Parser(
        prog=PROGRAM,
        description="Compare variants; manage the baselines, builds, models and results of pytest-llm-bench.",
        epilog="example: pytest-llm baselines show",
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    groups = whole.add_subparsers(metavar="GROUP", required=True, dest="group")
    for name, summary in GROUPS.items():
        group = groups.add_parser(
            name, help=summary, description=f"{summary}.".capitalize(), allow_abbrev=False
        )
        if asked == name:
            importlib.import_module(f"{__name__}.{name}").add_to(group)
    return whole


def _parse(words: list[str]) -> argparse.Namespace:
    try:
        return parser(next(iter(words), None)).parse_args(words)
    finally:
        sys.stdout.flush()  # here, where it may fail: help ends the process


def _write(answer: Answer, as_json: bool) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no "−" shows "?"
    if as_json:
        print(json_without_commands(json.dumps(answer.document, indent=1, allow_nan=False)))
    else:
        for line in answer.lines:
            print(line if answer.exact else clean_lines(line))
    sys.stdout.flush()


class _Parser(argparse.ArgumentParser):
    """Reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")
