"""``pytest-llm baselines accept``: results become baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from pytest_llm.baselines import Mode, Updated, full_name, update_lines
from pytest_llm.checks.format import counted
from pytest_llm.cli import command
from pytest_llm.cli.baselines.common import (
    TEST_HELP,
    by_folder,
    read_finished,
    refuse_in_ci,
    store_of,
    wanted,
)
from pytest_llm.errors import UsageError
from pytest_llm.records.serialization import encode
from pytest_llm.reports.update_baselines import update

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_llm.reports.document import Results

_TEXT = command.Text(
    summary="store results files as baselines of their machine",
    more="Each file is one run of every test in it; files are stored oldest first. Each run is stored with "
    "its verdict, regressed or not. Tests that failed otherwise are left out, unless the mode is replace. "
    "Refused when CI is set in the environment.",
    statuses="0; 1 if a test was refused (metrics that --mode=new finds stored are not refused)",
    example="pytest-llm baselines accept results.json && git diff baselines",
)


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    parser = command.add(commands, "accept", _TEXT, run)
    command.add_results_to(parser)
    parser.add_argument(
        "--mode",
        choices=get_args(Mode),
        default="append",
        help="new: store metrics that have no stored run; append: add the run to the stored ones; replace: "
        "delete the stored runs of these tests first (default: append)",
    )
    parser.add_argument(
        "--test",
        metavar="TEST",
        action="append",
        default=[],
        help=f"only these tests: {TEST_HELP}; repeatable (default: all)",
    )
    return parser


def run(arguments: argparse.Namespace) -> command.Answer:
    """Store the runs of the files; nothing at all if one of them is bad."""
    refuse_in_ci("accept")
    mode = arguments.mode
    read = read_finished(arguments.results)
    found = [_only(results, arguments.test) for _, results in read]
    if not any(results.tests for results in found):
        names = ", ".join(str(path) for path, _ in read)
        of = f" of {', '.join(arguments.test)}" if arguments.test else ""
        raise UsageError(f"no test{of} in {names}: see them with pytest-llm baselines diff")
    parts: dict[tuple[str, Path], list[Results]] = {}
    for results in found:
        for folder, part in by_folder(results, arguments.baselines):
            parts.setdefault((results.machine.fingerprint, folder), []).append(part)
    done = {place: _accept(parts[place], mode, place[1]) for place in sorted(parts)}
    lines = [line for place, each in done.items() for line in _lines(*place, *each)]
    refused = any(updated.refused for updated, _ in done.values())
    document = {"mode": mode, "machines": [_document(*place, *each) for place, each in done.items()]}
    return command.Answer(int(refused), lines, document)


def _only(results: Results, tests: Sequence[str]) -> Results:
    return replace(results, tests=tuple(test for test in results.tests if wanted(test.key, tests)))


def _accept(files: Sequence[Results], mode: Mode, folder: Path) -> tuple[Updated, int]:
    """Store the runs of one machine; return the update, and how many metrics "new" finds stored."""
    updated = update(store_of(files[0], folder), files, mode)
    stored = [each for each in updated.refused if each.stored and mode == "new"]
    refused = tuple(each for each in updated.refused if each not in stored)
    return replace(updated, refused=refused), len(stored)


def _lines(fingerprint: str, folder: Path, updated: Updated, there: int) -> list[str]:
    written, *refused = update_lines(updated, folder)
    names = dict.fromkeys(full_name(key) for key, _ in updated.written)
    head = written if names else f"nothing written to {folder}"
    before = [f"stored before: {counted(there, 'metric')}"] if there else []
    return [f"{head}, machine {fingerprint}", *(f"  {name}" for name in names), *before, *refused]


def _document(fingerprint: str, folder: Path, updated: Updated, there: int) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint,
        "folder": str(folder),
        "written": [{"key": encode(key), "name": name} for key, name in updated.written],
        "stored_before": there,
        "refused": [
            {"key": encode(each.key), "name": each.name, "reason": each.reason} for each in updated.refused
        ],
    }
