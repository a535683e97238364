"""``pytest-llm baselines show``: what is stored."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.baselines import full_name
from pytest_llm.baselines.folders import (
    class_names,
    class_parts,
    fingerprints,
    machine_files,
    machine_parts,
    portable_files,
    ratio_files,
)
from pytest_llm.baselines.records import RATIO
from pytest_llm.checks.format import counted, percent
from pytest_llm.cli import command
from pytest_llm.cli.baselines.common import TEST_HELP, described, folder_of, wanted
from pytest_llm.errors import UnknownNameError
from pytest_llm.records import Verdict, metrics
from pytest_llm.records.serialization import encode
from pytest_llm.records.units import BYTES
from pytest_llm.reports.table import aligned
from pytest_llm.stats.estimates import change_of
from pytest_llm.stats.prediction import centre_and_spread, lasting_change

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_llm.baselines import RecordedInvariants, RecordedRuns, Series
    from pytest_llm.records import JSON, TestKey

_TEXT = command.Text(
    summary="show the stored baselines",
    more="Prints, for each metric, the number of runs, how many regressed, their geometric mean, their "
    "spread (standard deviation of the logarithms), by how much the last five differ if that is more than "
    "chance, their dates and their builds; runs that were read in different ways are listed apart. Prints, "
    "for each test, the invariants.",
    statuses="0; 1 if nothing is stored of what was asked for",
    example="pytest-llm baselines show test_speed.py::test_generation",
)


class _Machine(NamedTuple):
    """A machine, and what was recorded on it of the tests asked for."""

    fingerprint: str
    parts: Mapping[str, JSON]
    tests: Mapping[TestKey, RecordedRuns]


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    parser = command.add(commands, "show", _TEXT, run)
    parser.add_argument("tests", metavar="TEST", nargs="*", help=f"only these: {TEST_HELP} (default: all)")
    parser.add_argument(
        "--machine",
        metavar="FINGERPRINT",
        help="only runs recorded on this machine, a folder of DIR/machines (default: all machines)",
    )
    return parser


def run(arguments: argparse.Namespace) -> command.Answer:
    folder, tests = folder_of(arguments), arguments.tests
    found = [_machine(folder, each, tests) for each in _fingerprints(folder, arguments.machine)]
    machines = [each for each in found if each.tests]
    classes = [] if arguments.machine else _classes(folder, tests)
    stored = portable_files(folder).everything()
    invariants = {key: each for key, each in stored.items() if wanted(key, tests)}
    document = {
        "folder": str(folder),
        "machines": [_machine_document(each) for each in machines],
        "anchored": [_machine_document(each) for each in classes],
        "invariants": [_invariants_document(key, each) for key, each in invariants.items()],
    }
    if not machines and not classes and not invariants:
        return command.Answer(1, [_nothing(folder, arguments.machine, tests)], document)
    lines = [f"baselines in {folder}"]
    for each in machines:
        lines += ["", *_machine_lines("machine", each)]
    for each in classes:
        lines += ["", *_machine_lines("anchored", each)]
    if invariants:
        lines += ["", "invariants, the same on every machine"]
        lines += [f"  {full_name(key)}: {_summary(each)}" for key, each in invariants.items()]
    return command.Answer(0, lines, document)


def _fingerprints(folder: Path, asked: str | None) -> list[str]:
    known = fingerprints(folder)
    if asked is not None and known and asked not in known:
        raise UnknownNameError("machine", asked, known)
    return [each for each in known if asked in (None, each)]


def _machine(folder: Path, fingerprint: str, tests: Sequence[str]) -> _Machine:
    stored = machine_files(folder, fingerprint).everything()
    found = {key: test for key, test in stored.items() if wanted(key, tests)}
    return _Machine(fingerprint, machine_parts(folder, fingerprint), found)


def _classes(folder: Path, tests: Sequence[str]) -> list[_Machine]:
    """Return what was recorded of the tests asked for, as ratios to an anchor, on each class of machines."""
    found = []
    for name in class_names(folder):
        files = ratio_files(folder, name)
        stored = {key: test for key, test in files.everything().items() if wanted(key, tests)}
        found.append(_Machine(name, class_parts(folder, name), stored))
    return [each for each in found if each.tests]


def _nothing(folder: Path, machine: str | None, tests: Sequence[str]) -> str:
    of = f" of {', '.join(tests)}" if tests else ""
    on = f" of the machine {machine}" if machine else ""
    if tests or machine:
        return f"nothing is stored{of}{on} in {folder}"
    return f"nothing is stored in {folder}: record runs with pytest --llm-bench --llm-update-baselines=append"


def _machine_lines(kind: str, machine: _Machine) -> list[str]:
    lines = [f"{kind} {machine.fingerprint}: {described(machine.parts)}"]
    for key, test in machine.tests.items():
        rows = [_row(name, each) for name, series in test.metrics.items() for each in _by_note(series)]
        anchor = test.conditions.anchor
        beside = "" if anchor is None else f", ratios to {anchor.build}"
        lines += [f"  {full_name(key)}{beside}", *(f"    {line}" for line in aligned(rows))]
    return lines


def _by_note(series: Series) -> list[Series]:
    """Return the runs of each way of reading by themselves: they are not compared with each other."""
    notes = dict.fromkeys(each.note for each in series.runs)
    return [replace(series, runs=tuple(each for each in series.runs if each.note == note)) for note in notes]


def _row(name: str, series: Series) -> list[str]:
    centre, spread = _centre_and_spread(name, series)
    note = series.runs[0].note
    regressed = sum(each.verdict is Verdict.REGRESSED for each in series.runs)
    return [
        f"{name} ({note})" if note else name,
        counted(len(series.runs), "run") + (f", {regressed} regressed" if regressed else ""),
        _formatted(name, series.unit, centre),
        ("" if spread is None else f"± {spread * 100:.1f} %") + _lasting(name, series),
        f"{_when(series)}  {', '.join(_builds(series))}".strip(),
    ]


def _centre_and_spread(name: str, series: Series) -> tuple[float | None, float | None]:
    values = [each.value for each in series.runs]
    if series.unit != RATIO:
        return centre_and_spread(values)
    return centre_and_spread([1 + change_of(metrics.find(name), each) for each in values])


def _lasting(name: str, series: Series) -> str:
    """Return by how much the last runs differ from those before; "" if not by more than chance."""
    values = [each.value for each in series.runs]
    if series.unit == RATIO:
        values = [1 + change_of(metrics.find(name), each) for each in values]
    change = lasting_change([math.log(each) for each in values]) if min(values) > 0 else None
    return "" if change is None else f", {percent(math.expm1(change))} in the last 5"


def _formatted(name: str, unit: str, value: float | None) -> str:
    if value is None:
        return "0"
    if unit == RATIO:
        return f"{value:.3f} times the anchor's"
    try:
        known = metrics.find(name).unit
    except UnknownNameError:
        known = None
    return known.format(value) if known is not None and known.base == unit else f"{value:g} {unit}"


def _when(series: Series) -> str:
    dates = [each.provenance.recorded[:10] for each in series.runs if each.provenance.recorded]
    return " … ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "undated"


def _builds(series: Series) -> list[str]:
    return list(dict.fromkeys(each.provenance.build for each in series.runs if each.provenance.build))


def _summary(invariants: RecordedInvariants) -> str:
    text = ", ".join(_fact(name, value) for name, value in sorted(invariants.invariants.items()))
    recorded = invariants.provenance.recorded[:10]
    return (
        f"{text} ({', '.join(each for each in (invariants.provenance.build, recorded) if each) or 'undated'})"
    )


def _fact(name: str, value: JSON) -> str:
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return f"{name.removesuffix('_bytes')} {BYTES.format(value)}"
    if isinstance(value, dict):
        return f"{name} of {counted(len(value), 'value')}"
    if isinstance(value, list):
        return f"{counted(len(value), 'value')} of {name}"
    text = str(value)
    return f"{name} {text if len(text) <= 40 else f'{text[:39]}…'}"


def _machine_document(machine: _Machine) -> dict[str, Any]:
    return {
        "fingerprint": machine.fingerprint,
        "parts": dict(machine.parts),
        "tests": [_test_document(key, test) for key, test in machine.tests.items()],
    }


def _test_document(key: TestKey, test: RecordedRuns) -> dict[str, Any]:
    return {
        "key": encode(key),
        "conditions": encode(test.conditions),
        "metrics": {name: _series_document(name, series) for name, series in test.metrics.items()},
    }


def _series_document(name: str, series: Series) -> dict[str, Any]:
    newest = tuple(each for each in series.runs if each.note == series.runs[-1].note)
    centre, spread = _centre_and_spread(name, replace(series, runs=newest))
    return {
        "unit": series.unit,
        "value": centre,
        "spread": spread,
        "runs": encode(series.runs),
    }


def _invariants_document(key: TestKey, invariants: RecordedInvariants) -> Mapping[str, Any]:
    return {"key": encode(key), **encode(invariants)}
