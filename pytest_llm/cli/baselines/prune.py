"""``pytest-llm baselines prune``: remove the baselines of tests that no longer exist."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import Collected, full_name
from pytest_llm.baselines.folders import fingerprints, stored_files
from pytest_llm.baselines.module_files import sorted_keys
from pytest_llm.checks.format import counted
from pytest_llm.cli import command, project
from pytest_llm.cli.baselines.common import folder_of, refuse_in_ci
from pytest_llm.errors import UnknownNameError, UsageError
from pytest_llm.records.serialization import decode, encode
from pytest_llm.system import strict_json
from pytest_llm.system.program import run_to_our_end

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_llm.baselines.module_files import ModuleFiles
    from pytest_llm.records import TestKey

_TEXT = command.Text(
    summary="list or remove the baselines of tests that no longer exist",
    more="Runs pytest's collection in the folder of the ini file to find the project's tests. If pytest "
    "cannot collect all of them, nothing is removed. Removing is refused when CI is set in the environment.",
    statuses="0; 1 if there are baselines to remove and --yes is not given",
    example="pytest-llm baselines prune --yes && git diff --stat baselines",
)

_MAX_BYTES = 64 * 2**20  # of every test of a project

# Plain output, which is read only if pytest fails.
_COLLECT = ("--collect-only", "-q", "--color=no", "-p", "pytest_llm.plugin.inventory_plugin")


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    parser = command.add(commands, "prune", _TEXT, run)
    parser.add_argument("--yes", action="store_true", help="remove them (default: only list them)")
    parser.add_argument(
        "--machine",
        metavar="FINGERPRINT",
        help="only runs recorded on this machine, ratios and invariants (default: all machines)",
    )
    return parser


def run(arguments: argparse.Namespace) -> command.Answer:
    if arguments.yes:
        refuse_in_ci("prune --yes")
    folder = folder_of(arguments)
    files = _files(folder, arguments.machine)
    stored = {where: set(each.everything()) for where, each in files.items()}
    keys = sorted_keys({key for tests in stored.values() for key in tests})
    if not keys:
        return command.Answer(0, [f"nothing is stored in {folder}"], _document(folder, {}, removed=False))
    collected = _collected(arguments.baselines)
    unknown = collected.unknown(keys)
    places = {key: [where for where, tests in stored.items() if key in tests] for key in unknown}
    if unknown and arguments.yes:
        _remove(folder, files.values(), set(keys) - set(unknown), collected)
    document = _document(folder, places, removed=arguments.yes)
    return command.Answer(int(bool(unknown) and not arguments.yes), _lines(places, arguments.yes), document)


def _files(folder: Path, only: str | None) -> dict[str, ModuleFiles[Any]]:
    known = fingerprints(folder)
    if only is not None and only not in known:
        raise UnknownNameError("machine", only, known, fix=f"a folder of {folder / 'machines'}")
    left_out = {f"machine {each}" for each in known if only not in (None, each)}
    return {where: each for where, each in stored_files(folder).items() if where not in left_out}


def _remove(
    folder: Path, files: Iterable[ModuleFiles[Any]], keep: set[TestKey], collected: Collected
) -> None:
    if not keep:
        raise UsageError(
            "nothing is removed: none of the stored tests exists: delete the folder "
            f"{folder}, or name another one with --baselines"
        )
    for each in files:
        each.prune(keep | set(collected.keys))


def _lines(places: Mapping[TestKey, Sequence[str]], removed: bool) -> list[str]:
    if not places:
        return ["every test with baselines exists"]
    listed = [f"  {full_name(key)}: {', '.join(where)}" for key, where in places.items()]
    tests = counted(len(places), "test")
    if removed:
        return [f"removed the baselines of {tests}", *listed]
    return [
        f"baselines of {tests} that no longer {'exists' if len(places) == 1 else 'exist'}",
        *listed,
        "remove them with --yes",
    ]


def _document(folder: Path, places: Mapping[TestKey, Sequence[str]], removed: bool) -> dict[str, Any]:
    tests = [{"key": encode(key), "where": list(where)} for key, where in places.items()]
    return {"folder": str(folder), "removed": removed and bool(places), "tests": tests}


def _collected(given: str | None) -> Collected:
    """Return this project's benchmarks, collected by pytest; ``UsageError`` unless it collects all."""
    home = project.home(Path.cwd())
    # The folder that they share, if it was given, is that of every home.
    shared = [f"--llm-baselines={project.baselines(given, Path.cwd())}"] if given else []
    with tempfile.TemporaryDirectory() as temporary:
        answer = Path(temporary) / "collected.json"
        words = [sys.executable, "-m", "pytest", *_COLLECT, *shared, f"--llm-write-collected={answer}"]
        done = run_to_our_end(words, home)
        if not answer.exists():
            raise UsageError(
                f"nothing is removed: pytest cannot collect the tests of {home}: "
                f"{_reason(done.stderr + done.stdout) or f'it ended with {done.returncode}'}"
            )
        collected = decode(Collected, strict_json.read(answer, limit=_MAX_BYTES))
    if collected.partial:
        raise UsageError(f"nothing is removed: not every test of {home} was collected: {collected.partial}")
    if not collected.keys:
        raise UsageError(f"nothing is removed: pytest finds no benchmark in {home}: start it in the project")
    return collected


def _reason(output: str) -> str:
    """Return the line in which pytest says what is wrong, or the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error: |Error: ", line)]
    return (errors or lines or [""])[-1]
