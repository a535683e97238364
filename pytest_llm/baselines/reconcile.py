"""Two records of one test become one: those of two branches, or of a test before and after it was renamed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from pytest_llm.baselines.merge import BELONGS_TO, grown
from pytest_llm.baselines.records import MAX_RUNS, MachineFile, RecordedInvariants, RecordedRuns, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_llm.baselines.records import PortableFile
    from pytest_llm.records import JSON

Recorded = TypeVar("Recorded", RecordedRuns, RecordedInvariants)
Side = Literal["ours", "theirs"]


class Conflict(NamedTuple):
    """Why two records of a test cannot become one; ``name`` is a metric or invariant, "" for all of them."""

    test: str
    name: str
    reason: str


def reconcile_runs(
    ours: RecordedRuns, theirs: RecordedRuns, prefer: Side | None = None, *, renamed: bool = False
) -> tuple[RecordedRuns, list[Conflict]]:
    """Return the runs of both sides, oldest first, each once, and what cannot be decided.

    Runs of two branches that have none in common may have replaced each other, so that both together would be
    a baseline of nothing.

    Args:
        ours: Of one side.
        theirs: Of the other side.
        prefer: The side that is taken where both cannot be.
        renamed: Whether the sides are no branches but one test before and after it was renamed.
    """
    difference = ours.conditions.difference(theirs.conditions)
    if difference:
        return _one_of(ours, theirs, prefer, difference)
    metrics, conflicts = {**theirs.metrics, **ours.metrics}, []
    for name in sorted(ours.metrics.keys() & theirs.metrics.keys()):
        mine, other = ours.metrics[name], theirs.metrics[name]
        if mine.unit == other.unit and (renamed or set(mine.runs) & set(other.runs)):
            metrics[name] = _together(mine, other)
        elif prefer is None:
            conflicts.append(Conflict("", name, "the two sides have no run in common"))
        else:
            metrics[name] = other if prefer == "theirs" else mine
    return replace(ours, metrics=metrics), conflicts


def _together(ours: Series, theirs: Series) -> Series:
    runs = dict.fromkeys([*theirs.runs, *ours.runs])
    ordered = sorted(runs, key=lambda run: run.provenance.recorded)
    return Series(ours.unit, tuple(ordered[-MAX_RUNS:]))


def reconcile_invariants(
    ours: RecordedInvariants, theirs: RecordedInvariants, prefer: Side | None = None, *, renamed: bool = False
) -> tuple[RecordedInvariants, list[Conflict]]:
    """Return the invariants of both sides, and those that have two values; see :func:`reconcile_runs`."""
    difference = ours.conditions.difference(theirs.conditions)
    if difference:
        return _one_of(ours, theirs, prefer, difference)
    if renamed and prefer is None:
        prefer = "ours"
    values: dict[str, JSON] = {**theirs.invariants, **ours.invariants}
    conflicts = []
    for name in sorted(ours.invariants.keys() & theirs.invariants.keys()):
        mine, other = ours.invariants[name], theirs.invariants[name]
        both = mine if mine == other else grown(mine, other)
        if both is not None:
            values[name] = both
        elif prefer == "theirs":
            values[name] = other
        elif prefer is None and name not in BELONGS_TO:
            conflicts.append(Conflict("", name, "the two sides have other values"))
    newer = max(ours.provenance, theirs.provenance, key=lambda each: each.recorded)
    return replace(ours, invariants=values, provenance=newer), conflicts


def _one_of(
    ours: Recorded, theirs: Recorded, prefer: Side | None, difference: str
) -> tuple[Recorded, list[Conflict]]:
    conflicts = [Conflict("", "", f"the two sides have other conditions: {difference}")]
    return theirs if prefer == "theirs" else ours, [] if prefer else conflicts


def reconcile_files(
    ours: MachineFile | PortableFile, theirs: MachineFile | PortableFile, prefer: Side | None = None
) -> tuple[MachineFile | PortableFile, list[Conflict]]:
    """Return the tests of two files of one kind and one module, and what cannot be decided."""
    reconcile: Callable[..., tuple[RecordedRuns | RecordedInvariants, list[Conflict]]] = (
        reconcile_runs if isinstance(ours, MachineFile) else reconcile_invariants
    )
    mine: Mapping[str, RecordedRuns | RecordedInvariants] = ours.tests
    others: Mapping[str, RecordedRuns | RecordedInvariants] = theirs.tests
    tests, conflicts = {**others, **mine}, []
    for name in sorted(mine.keys() & others.keys()):
        tests[name], found = reconcile(mine[name], others[name], prefer)
        conflicts += [each._replace(test=name) for each in found]
    return replace(ours, tests=tests), conflicts  # type: ignore[arg-type] # both are of one kind
