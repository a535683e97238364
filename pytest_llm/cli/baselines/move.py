"""``pytest-llm baselines move``: give the baselines of a renamed test or file to its new name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import full_name
from pytest_llm.baselines.folders import stored_files
from pytest_llm.baselines.module_files import key_of
from pytest_llm.checks.format import counted
from pytest_llm.cli import command
from pytest_llm.cli.baselines.common import folder_of, refuse_in_ci
from pytest_llm.errors import UnknownNameError, UsageError
from pytest_llm.records.serialization import encode

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from pytest_llm.records import TestKey

_TEXT = command.Text(
    summary="give the baselines of a test to the name that it has now",
    more="Moves the runs of every machine, the ratios to an anchor and the invariants. If both are files, "
    "moves those of all tests in them. What is stored of NEW already is joined with what is moved. Refused "
    "when CI is set in the environment.",
    statuses="0",
    example="pytest-llm baselines move test_speed.py::test_chat test_speed.py::test_short_chat",
)


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    parser = command.add(commands, "move", _TEXT, run)
    named = "a test, as tests/test_speed.py::test_chat[parameters], or a file, as tests/test_speed.py"
    parser.add_argument("old", metavar="OLD", help=f"its stored name: {named}")
    parser.add_argument("new", metavar="NEW", help="its name now, of the same kind")
    parser.add_argument("--replace", action="store_true", help="drop what is stored of NEW")
    return parser


def run(arguments: argparse.Namespace) -> command.Answer:
    """Move all that is stored, or nothing."""
    refuse_in_ci("move")
    folder = folder_of(arguments)
    stores = stored_files(folder)
    stored = {key for files in stores.values() for key in files.everything()}
    pairs = _pairs(arguments.old, arguments.new, stored, folder)
    for where, files in stores.items():
        conflicts = files.move(pairs, replaces=arguments.replace, write=False).conflicts
        if conflicts:
            what = f", {conflicts[0].name}" if conflicts[0].name else ""
            raise UsageError(
                f"nothing is moved: {conflicts[0].test} has baselines of its own ({where}{what}): "
                f"{conflicts[0].reason}; drop them with --replace"
            )
    done = {where: files.move(pairs, replaces=arguments.replace).keys for where, files in stores.items()}
    places = {new: [where for where, keys in done.items() if new in keys] for new in pairs.values()}
    lines = [
        f"moved the baselines of {counted(len(pairs), 'test')} in {folder}",
        *(f"  {full_name(old)} → {full_name(new)}: {', '.join(places[new])}" for old, new in pairs.items()),
    ]
    document = {
        "folder": str(folder),
        "tests": [
            {"old": encode(old), "new": encode(new), "where": places[new]} for old, new in pairs.items()
        ],
    }
    return command.Answer(0, lines, document)


def _pairs(old: str, new: str, stored: set[TestKey], folder: Path) -> dict[TestKey, TestKey]:
    (old_module, _, old_name), (new_module, _, new_name) = old.partition("::"), new.partition("::")
    if bool(old_name) != bool(new_name) or not new_module:
        raise UsageError(f"{old} and {new} are not of one kind: name two tests, or two files")
    if old == new:
        raise UsageError(f"{old} has this name already: name another one")
    if not old_name:
        found = [key for key in stored if key.module == old_module]
        pairs = {key: key_of(new_module, full_name(key).partition("::")[2]) for key in found}
    else:
        key = key_of(old_module, old_name)
        pairs = {key: key_of(new_module, new_name)} if key in stored else {}
    if not pairs:
        known = {full_name(key) for key in stored} if old_name else {key.module for key in stored}
        kind = "test" if old_name else "file"
        raise UnknownNameError(kind, old, known, fix=f"stored in {folder}")
    return dict(sorted(pairs.items(), key=lambda pair: full_name(pair[0])))
