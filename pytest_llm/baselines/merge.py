"""What a new entry makes of what is stored of its test. Nothing here reads files."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from pytest_llm.baselines.records import Recorded, RecordedInvariants, Series
from pytest_llm.errors import UnknownNameError
from pytest_llm.records import StoredRun, metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.baselines.records import Conditions, Entry, InvariantsEntry, Mode
    from pytest_llm.records import JSON

# Measured, so that no two CPUs agree on it: what was recorded first stays, with what it belongs to.
_BELONGS_TO = {"greedy_leads": "greedy_output"}

# Runs kept of a metric; statistics.md: enough for the spread, few enough to follow the machine.
MAX_RUNS = 20


def add_run(
    stored: Recorded | None, entry: Entry, mode: Mode
) -> tuple[Recorded | None, list[str], list[tuple[str, str]]]:
    """Return the test's new record, the metrics written, and what was refused as (metric or "", reason).

    Args:
        stored: What there is of the test.
        entry: The new run.
        mode: ``new`` adds metrics that have no runs; ``append`` adds a run to each, unless that very run is
            among them; ``replace`` drops what is stored of the test first.
    """
    problem = _problem(entry.values) or _differs(stored, entry.conditions, mode)
    problem = problem or (_again(stored, entry) if mode == "append" else "")
    if problem:
        return stored, [], [("", problem)]
    kept = {} if stored is None or mode == "replace" else dict(stored.metrics)
    written, refused = [], []
    for name, value in sorted(entry.values.items()):
        unit = metrics.find(name).unit.base
        runs = kept[name].runs if name in kept else ()
        if runs and mode == "new":
            refused.append((name, f"has {len(runs)} of them already: append or replace"))
        elif runs and kept[name].unit != unit:
            refused.append((name, f"recorded in {kept[name].unit!r}, now in {unit!r}: replace it"))
        else:
            runs = (*runs, StoredRun(float(value), entry.provenance, entry.notes.get(name, "")))
            kept[name] = Series(unit, runs[-MAX_RUNS:])
            written.append(name)
    return (Recorded(entry.conditions, kept) if written else stored), written, refused


def add_facts(
    stored: RecordedInvariants | None, entry: InvariantsEntry, mode: Mode
) -> tuple[RecordedInvariants | None, list[str], list[tuple[str, str]]]:
    """Return the test's new record, the facts written, and what was refused as (fact or "", reason).

    A fact does not vary as a run's values do: ``new`` and ``append`` both add what is not there, and an equal
    fact is neither written nor refused.
    """
    problem = "" if entry.invariants else "has no facts"
    problem = problem or _differs(stored, entry.conditions, mode)
    invariants: dict[str, JSON] = {}
    try:
        # As they will be read: lists where there were tuples.
        invariants = json.loads(json.dumps(dict(entry.invariants), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        problem = problem or f"is not JSON: {error}"
    if problem:
        return stored, [], [("", problem)]
    kept = {} if stored is None or mode == "replace" else dict(stored.invariants)
    written, refused = [], []
    for name, value in sorted(invariants.items()):
        owner = _BELONGS_TO.get(name)
        if owner is not None and (
            name in kept or kept.get(owner, invariants.get(owner)) != invariants.get(owner)
        ):
            continue
        if name not in kept:
            kept[name] = value
            written.append(name)
        elif kept[name] != value:
            grown = _grown(kept[name], value)
            if grown is None:
                refused.append((name, "another value is stored: replace it"))
            elif grown != kept[name]:
                kept[name] = grown
                written.append(name)
    record = RecordedInvariants(entry.conditions, kept, entry.provenance) if written else stored
    return record, written, refused


def _grown(stored: JSON, now: JSON) -> JSON:
    """Return a fact of several parts with those that are new; None where a part that both have is another.

    Which parts there are depends on the release that tells them and on the version that reads them.
    """
    if not isinstance(stored, dict) or not isinstance(now, dict):
        return None
    both = stored.keys() & now.keys()
    return {**stored, **now} if all(stored[name] == now[name] for name in both) else None


def _differs(stored: Recorded | RecordedInvariants | None, conditions: Conditions, mode: Mode) -> str:
    if stored is None or mode == "replace":
        return ""
    difference = stored.conditions.difference(conditions)
    return f"{difference}: replace it" if difference else ""


def _again(stored: Recorded | None, entry: Entry) -> str:
    """Say that a run is stored already: counted twice, it would make the others' spread look smaller."""
    if stored is None or not entry.provenance.recorded:
        return ""
    shared = [
        (name, stored.metrics[name], value) for name, value in entry.values.items() if name in stored.metrics
    ]
    # One equal value may be chance, where runs begin in the same second.
    if shared and all(_holds(series, name, value, entry) for name, series, value in shared):
        return f"already stored: it is the run of {entry.provenance.recorded}"
    return ""


def _holds(series: Series, name: str, value: float, entry: Entry) -> bool:
    same_unit = series.unit == metrics.find(name).unit.base
    return same_unit and any(_same(each, value, entry) for each in series.runs)


def _same(run: StoredRun, value: float, entry: Entry) -> bool:
    there, new = run.provenance, entry.provenance
    return (run.value, there.recorded, there.build, there.llama_cpp_commit) == (
        value,
        new.recorded,
        new.build,
        new.llama_cpp_commit,
    )


def _problem(values: Mapping[str, float]) -> str:
    if not values:
        return "has no values"
    for name, value in sorted(values.items()):
        try:
            unit = metrics.find(name).unit
        except UnknownNameError as error:
            return str(error)
        if not math.isfinite(value):
            return f"{name} is {value:g}, not a finite number"
        if value <= 0 and unit.base in {"s", "tok/s"}:
            return f"{name} is {value:g}, not above 0"
    return ""
