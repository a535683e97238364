"""Files and tests that the commands of ``pytest-llm baselines`` work on."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.baselines import BaselineStore, full_name
from pytest_llm.cli import project
from pytest_llm.errors import ResultsError, UsageError
from pytest_llm.records.serialization import short
from pytest_llm.reports import recheck, results_file
from pytest_llm.reports.update_baselines import by_home
from pytest_llm.system import ini_file
from pytest_llm.system.ci import VARIABLE, is_ci

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pytest_llm.records import JSON, TestKey
    from pytest_llm.reports.document import Results

TEST_HELP = "part of a test's name, as in tests/test_speed.py::test_chat[parameters]"


def folder_of(arguments: argparse.Namespace) -> Path:
    return project.baselines(arguments.baselines, Path.cwd())


def by_folder(results: Results, given: str | None) -> list[tuple[Path, Results]]:
    """Return results by the folders of the baselines of their tests.

    Args:
        results: Of a file; the homes of its tests are named from where pytest was started.
        given: ``--baselines``, for all of them.
    """
    parts = by_home(results)
    if given:
        twice = [key for key, count in Counter(test.key for test in results.tests).items() if count > 1]
        if twice:
            raise UsageError(
                f"--baselines: two tests are {full_name(twice[0])}, of different homes: leave it out"
            )
        return [(project.baselines(given, Path.cwd()), results)]
    return [(project.baselines(None, _home(name)), part) for name, part in parts.items()]


def _home(name: str) -> Path:
    """Return the home that a results file calls so, looked for from here upwards."""
    here = Path.cwd()
    if not name:
        return here
    for base in () if Path(name).is_absolute() else (here, *here.parents):
        folder = Path(os.path.normpath(base / name))
        with contextlib.suppress(OSError):  # of a name that is too long
            if folder.is_dir() and ini_file.home(folder) == folder:
                return folder
    raise UsageError(f"there is no {short(name)} with an ini file at or above {here}: start in the project")


def store_of(results: Results, folder: Path) -> BaselineStore:
    return BaselineStore(folder, results.machine.fingerprint, results.machine.parts())


def read_finished(paths: Sequence[Path]) -> list[tuple[Path, Results]]:
    """Return results files, the oldest first; ``ResultsError`` if pytest did not end one of these runs."""
    found = read_results(paths)
    for path, results in found:
        if not results.finished:
            raise ResultsError(
                f"{path} is unfinished: pytest still runs, or was killed; run it again to get baselines"
            )
    return found


def read_results(paths: Sequence[Path]) -> list[tuple[Path, Results]]:
    """Return results files, the oldest first; ``ResultsError`` if one is not what its own series say."""
    found = [(path, recheck.read_sound(path)) for path in paths]
    return sorted(found, key=lambda each: _started(each[1]))


def _started(results: Results) -> datetime:
    started = results_file.started(results)
    assert started is not None, "checked as it was read"
    return started


def wanted(key: TestKey, tests: Iterable[str]) -> bool:
    """Return if a test is among those named; all are if none is named."""
    tests = list(tests)
    return not tests or any(each in full_name(key) for each in tests)


def refuse_in_ci(command: str) -> None:
    """Raise ``UsageError`` in CI: a person accepts what CI measures."""
    if is_ci(os.environ):
        raise UsageError(
            f"{command}: CI never writes a baseline (CI={os.environ[VARIABLE]} is set in the environment): "
            "keep the results files, and run it outside CI"
        )


def described(parts: Mapping[str, JSON]) -> str:
    """Return what a machine is: "a CPU, 2 cores, 24 GiB, Linux x86_64"; its instruction sets are left out."""
    words = {"cores": "{} cores", "memory_gib": "{} GiB"}
    return ", ".join(words.get(name, "{}").format(parts[name]) for name in _order(parts) if parts[name])


def _order(parts: Mapping[str, JSON]) -> list[str]:
    first = [name for name in ("cpu", "cores", "memory_gib") if name in parts]
    return first + sorted(parts.keys() - {*first, "instruction_sets"})
