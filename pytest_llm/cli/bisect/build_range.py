"""Which builds a bisect goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.bisect import releases
from pytest_llm.cli import project
from pytest_llm.cli.bisect import commits
from pytest_llm.errors import UsageError
from pytest_llm.records import Commit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path


def builds(
    arguments: argparse.Namespace,
    start: Path,
    listed: Callable[[], list[str]] = releases.listed,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Return the builds that the arguments name, in order, paths absolute.

    Args:
        arguments: With ``good``, ``bad`` and ``builds``.
        start: The folder that relative paths count from.
        listed: Lists the releases that there are.
        on_progress: Is given a line if commits are left out.

    Raises:
        UsageError: They name none, one, or one twice, or one of them is no build.
    """
    row = [str(project.build(text, start)) for text in _row(arguments, start, listed, on_progress)]
    if len(row) < 2:
        raise UsageError("a bisect takes two builds at least: --builds BUILD,BUILD or --good and --bad")
    twice = [each for index, each in enumerate(row) if each in row[:index]]
    if twice:
        raise UsageError(f"{twice[0]} is in the row twice")
    return row


def _row(
    arguments: argparse.Namespace,
    start: Path,
    listed: Callable[[], list[str]],
    on_progress: Callable[[str], None],
) -> list[str]:
    good, bad, row = arguments.good, arguments.bad, arguments.builds
    if row and not (good or bad):
        return [each.strip() for each in row.split(",") if each.strip()]
    if row or not (good and bad):
        raise UsageError("name the builds with --good and --bad, or with --builds alone")
    ends = releases.parse(good), releases.parse(bad)
    if ends[0] and ends[1]:
        return releases.between(ends[0], ends[1], listed())
    first, last = project.build(good, start), project.build(bad, start)
    if not (isinstance(first, Commit) and isinstance(last, Commit)):
        return [good, bad]
    row = commits.between(first, last)
    on_progress(str(row))
    return row.builds
