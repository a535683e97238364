"""``pytest-llm baselines migrate``: change the anchor that stored ratios are ratios to."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import Conditions, full_name
from pytest_llm.baselines.anchored import Offset, migrated
from pytest_llm.baselines.folders import class_names, ratio_files
from pytest_llm.baselines.records import Anchor
from pytest_llm.checks.format import counted
from pytest_llm.cli import command, project
from pytest_llm.cli.baselines.common import folder_of, refuse_in_ci, store_of
from pytest_llm.errors import UsageError
from pytest_llm.records.serialization import encode
from pytest_llm.reports.recheck import read_sound
from pytest_llm.system import ini_file
from pytest_llm.system.program import run_to_our_end

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_llm.baselines import BaselineStore, RecordedRuns
    from pytest_llm.records import Build, Run, TestKey
    from pytest_llm.reports.document import Results

_TEXT = command.Text(
    summary="change the anchor that stored ratios are ratios to",
    more="Runs the project's benchmarks with the new anchor beside the old one, several times, and divides "
    "every stored ratio of this class of machines by what that shows. Set llm_anchor to the new one "
    "afterwards. Refused when CI is set in the environment.",
    statuses="0; 1 if the ratios of a test could not be changed",
    example="pytest-llm baselines migrate --anchor 0.3.36",
)
_RUNS = 4
_ENDED = (0, 1)  # of pytest: all tests passed, or some failed


@dataclass
class _Measured:
    """Ratios of one test in the runs of both anchors."""

    candidate: Run
    reference: Build
    ratios: dict[str, list[tuple[float, float | None]]] = field(default_factory=dict)


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    parser = command.add(commands, "migrate", _TEXT, run)
    parser.add_argument("--anchor", metavar="BUILD", required=True, help="the new anchor")
    parser.add_argument(
        "--from", dest="old", metavar="BUILD", help="the old anchor (default: the ini key llm_anchor)"
    )
    parser.add_argument(
        "--runs", type=int, default=_RUNS, help=f"how often both are measured (default: {_RUNS})"
    )
    parser.add_argument(
        "tests",
        metavar="ARGUMENT",
        nargs="*",
        help="for pytest, after --: files, or -k and a name (default: none)",
    )
    return parser


def run(arguments: argparse.Namespace) -> command.Answer:
    """Measure, then change the ratios of every test that was measured."""
    refuse_in_ci("migrate")
    old = arguments.old or ini_file.text("llm_anchor", Path.cwd())
    if not old:
        raise UsageError(
            "the old anchor is not known: set llm_anchor in pytest's ini file, or name it with --from"
        )
    if arguments.runs < 1:
        raise UsageError(f"--runs: {arguments.runs} measures nothing; give 1 or more")
    folder = folder_of(arguments)
    if not any(ratio_files(folder, each).modules() for each in class_names(folder)):
        raise UsageError(f"no ratios to an anchor are stored in {folder}: record some with --llm-anchor")
    found = [_measured(arguments, folder, old, number) for number in range(1, arguments.runs + 1)]
    store = store_of(found[0], folder)
    changed, refused = _migrate(store, found)
    lines = [
        f"the ratios of {counted(len(changed), 'test')} in {folder} are now to {arguments.anchor}",
        *(f"  {full_name(key)}" for key in changed),
        *(f"not changed: {full_name(key)}: {reason}" for key, reason in refused.items()),
        *([f"set llm_anchor to {arguments.anchor} in pytest's ini file"] if changed else []),
    ]
    document = {
        "folder": str(folder),
        "changed": [encode(each) for each in changed],
        "refused": [{"key": encode(key), "reason": reason} for key, reason in refused.items()],
    }
    return command.Answer(int(bool(refused) or not changed), lines, document)


def _measured(arguments: argparse.Namespace, folder: Path, old: str, number: int) -> Results:
    home = project.home(Path.cwd())
    print(f"measuring {arguments.anchor} beside {old}, run {number} of {arguments.runs}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        answer = Path(temporary) / "results.json"
        options = [
            "--llm-bench-only",
            f"--llm-candidate={arguments.anchor}",
            f"--llm-anchor={old}",
            f"--llm-json={answer}",
            f"--llm-baselines={folder}",
            "--llm-update-baselines=",  # whatever the ini file says
        ]
        done = run_to_our_end([sys.executable, "-m", "pytest", *options, *arguments.tests], home)
        if done.returncode not in _ENDED or not answer.exists():
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            reason = lines[-1] if lines else f"it ended with {done.returncode}"
            raise UsageError(f"nothing is changed: pytest could not measure both anchors: {reason}")
        return read_sound(answer)


def _migrate(store: BaselineStore, found: Sequence[Results]) -> tuple[list[TestKey], dict[TestKey, str]]:
    measured = _by_test(found)
    changed: list[tuple[TestKey, RecordedRuns]] = []
    refused: dict[TestKey, str] = {}
    for key, test in store.recorded_ratios().items():
        shown = measured.get(key)
        reason = _unfit(test, shown, len(found))
        if reason or shown is None:
            refused[key] = reason
            continue
        offsets = {name: _offset(each) for name, each in shown.ratios.items()}
        changed.append((key, migrated(test, offsets, Anchor.of(shown.candidate.build))))
    store.update_ratios(changed, "replace")
    return [key for key, _ in changed], refused


def _by_test(found: Sequence[Results]) -> dict[TestKey, _Measured]:
    measured: dict[TestKey, _Measured] = {}
    for results in found:
        for test in results.tests:
            for name, entry in test.metrics.items():
                beside = entry.baseline.anchored if entry.baseline is not None else None
                if beside is None or beside.ratio is None or test.run is None:
                    continue
                reference = results.runs[results.pairs[beside.pair].reference].build
                shown = measured.setdefault(test.key, _Measured(results.runs[test.run], reference))
                shown.ratios.setdefault(name, []).append((beside.ratio, beside.whole))
    return measured


def _unfit(test: RecordedRuns, shown: _Measured | None, runs: int) -> str:
    if shown is None:
        return "it was not measured"
    difference = test.conditions.difference(Conditions.of(shown.candidate, shown.reference))
    lacking = [name for name in test.metrics if len(shown.ratios.get(name, ())) < runs]
    return difference or (f"{lacking[0]} was not measured each time" if lacking else "")


def _offset(ratios: Sequence[tuple[float, float | None]]) -> Offset:
    wholes = [whole for _, whole in ratios if whole is not None]
    whole = fmean(wholes) if len(wholes) == len(ratios) else None
    return Offset(fmean(typical for typical, _ in ratios), whole, len(ratios))
