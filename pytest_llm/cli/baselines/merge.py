"""``pytest-llm baselines merge``: join the baselines that two branches recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import file_format
from pytest_llm.baselines.io import read, writing
from pytest_llm.baselines.reconcile import reconcile_files
from pytest_llm.checks.format import counted
from pytest_llm.cli import command
from pytest_llm.cli.baselines.common import refuse_in_ci
from pytest_llm.errors import BaselineError, UsageError
from pytest_llm.system import atomic_file

if TYPE_CHECKING:
    import argparse

    from pytest_llm.baselines.records import MachineFile, PortableFile
    from pytest_llm.records.serialization import Document

_TEXT = command.Text(
    summary="join two versions of a file of baselines, those of two branches",
    more="Writes the tests and runs of both to OURS. A test that both branches recorded without a run in "
    "common, or with other values, is a conflict, and nothing is written: --prefer decides. Refused when CI "
    "is set in the environment.",
    statuses="0; 1 if there are conflicts",
    example="pytest-llm baselines merge baselines/portable/test_speed.py.json",
)


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    parser = command.add(commands, "merge", _TEXT, run)
    parser.add_argument(
        "ours", metavar="OURS", type=Path, help="the file to write; one with git's conflict markers is both"
    )
    parser.add_argument(
        "theirs", metavar="THEIRS", type=Path, nargs="?", help="the other version (default: that in OURS)"
    )
    parser.add_argument("--prefer", choices=("ours", "theirs"), help="the side that decides conflicts")
    return parser


def run(arguments: argparse.Namespace) -> command.Answer:
    refuse_in_ci("merge")
    path: Path = arguments.ours
    ours, theirs = _both(path, arguments.theirs)
    document = _document(ours)
    mine, other = (_parsed(data, path) for data in (ours, theirs))
    if type(mine) is not type(other) or mine.module != other.module or _machine(mine) != _machine(other):
        raise UsageError(
            f"{path} and {arguments.theirs} are not of one module and one machine: name two that are"
        )
    joined, conflicts = reconcile_files(mine, other, arguments.prefer)
    found = [each._asdict() for each in conflicts]
    answer = {"file": str(path), "tests": len(joined.tests), "conflicts": found}
    if conflicts:
        lines = [
            f"nothing is written: {counted(len(conflicts), 'conflict')} in {path}",
            *(
                f"  {mine.module}::{each.test}{f', {each.name}' if each.name else ''}: {each.reason}"
                for each in conflicts
            ),
            "decide with --prefer=ours or --prefer=theirs",
        ]
        return command.Answer(1, lines, answer)
    with writing(path):
        atomic_file.replace(path, file_format.compose(joined, document, path))
    return command.Answer(
        0, [f"{counted(len(joined.tests), 'test')} of both sides written to {path}"], answer
    )


def _both(path: Path, theirs: Path | None) -> tuple[bytes, bytes]:
    ours = _read(path)
    if theirs is not None:
        return ours, _read(theirs)
    both = file_format.sides(ours)
    if both is None:
        raise UsageError(f"{path} has no conflict markers: name the other version, too")
    return both


def _read(path: Path) -> bytes:
    data = read(path, file_format.MAX_BYTES)
    if data is None:
        raise BaselineError(f"{path}: there is no such file; name a file of baselines")
    return data


def _document(data: bytes) -> Document[Any]:
    return file_format.MACHINE if b'"machine": {' in data else file_format.PORTABLE


def _parsed(data: bytes, path: Path) -> MachineFile | PortableFile:
    parsed: MachineFile | PortableFile = file_format.parse(data, _document(data), path)
    return parsed


def _machine(file: MachineFile | PortableFile) -> object:
    return getattr(file, "machine", None)
