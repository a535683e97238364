"""Adds new runs and invariants to the stored ones of a test; reads no files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from pytest_llm.baselines.control import other_speed
from pytest_llm.baselines.records import MAX_RUNS, Mode, RecordedInvariants, RecordedRuns, Refusal, Series
from pytest_llm.errors import UnknownNameError
from pytest_llm.records import metrics
from pytest_llm.stats.prediction import LEAST_RUNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.baselines.records import Conditions
    from pytest_llm.records import JSON, StoredRun, TestKey

Recorded = TypeVar("Recorded")

# Measured, so that no two CPUs agree on it: it stays as recorded, with the invariant that it belongs to.
BELONGS_TO = {"greedy_leads": "greedy_output"}


class Merged(NamedTuple, Generic[Recorded]):
    """The record of a test after an update, the names written, and what was refused."""

    record: Recorded | None
    written: list[str]
    refused: list[Refusal]


def merge_runs(
    key: TestKey, stored: RecordedRuns | None, new: RecordedRuns, mode: Mode
) -> Merged[RecordedRuns]:
    """Add one new run of each metric.

    Args:
        key: Of the test.
        stored: What there is of the test.
        new: One run of each metric.
        mode: "new" adds metrics that have no runs; "append" adds a run to each metric, unless that very run
            is among them; "replace" drops what is stored of the test first.
    """
    problem = _problem(new) or _differs(stored, new.conditions, mode)
    problem = problem or (_again(stored, new) or _other_speed(stored, new) if mode == "append" else "")
    if problem:
        return Merged(stored, [], [Refusal(key, problem)])
    kept = {} if stored is None or mode == "replace" else dict(stored.metrics)
    written, refused = [], []
    for name, series in sorted(new.metrics.items()):
        before = kept.get(name)
        if before is None:
            kept[name] = series
            written.append(name)
        elif mode == "new":
            reason = f"has {len(before.runs)} of them already: append or replace"
            refused.append(Refusal(key, reason, name, stored=True))
        elif before.unit != series.unit:
            reason = f"recorded in {before.unit!r}, now in {series.unit!r}: replace it"
            refused.append(Refusal(key, reason, name))
        else:
            kept[name] = Series(series.unit, (*before.runs, *series.runs)[-MAX_RUNS:])
            written.append(name)
    return Merged(RecordedRuns(new.conditions, kept) if written else stored, written, refused)


def merge_invariants(
    key: TestKey, stored: RecordedInvariants | None, new: RecordedInvariants, mode: Mode
) -> Merged[RecordedInvariants]:
    """Add new invariants.

    An invariant does not vary as a run's values do: "new" and "append" both add what is not there, and an
    equal invariant is neither written nor refused.
    """
    problem = "" if new.invariants else "has no invariants"
    problem = problem or _differs(stored, new.conditions, mode)
    invariants: dict[str, JSON] = {}
    try:
        # As they will be read: lists for tuples.
        invariants = json.loads(json.dumps(dict(new.invariants), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        problem = problem or f"is not JSON: {error}"
    if problem:
        return Merged(stored, [], [Refusal(key, problem)])
    kept = {} if stored is None or mode == "replace" else dict(stored.invariants)
    written, refused = [], []
    for name, value in sorted(invariants.items()):
        owner = BELONGS_TO.get(name)
        if owner is not None and (
            name in kept or kept.get(owner, invariants.get(owner)) != invariants.get(owner)
        ):
            continue
        if name not in kept:
            kept[name] = value
            written.append(name)
        elif kept[name] != value:
            both = grown(kept[name], value)
            if both is None:
                refused.append(Refusal(key, "another value is stored: replace it", name))
            elif both != kept[name]:
                kept[name] = both
                written.append(name)
    return Merged(replace(new, invariants=kept) if written else stored, written, refused)


def grown(stored: JSON, now: JSON) -> JSON:
    """Return a stored invariant with the parts that are new; None if a part that both have differs.

    Which parts there are depends on the release that tells them and on the version that reads them.
    """
    if not isinstance(stored, dict) or not isinstance(now, dict):
        return None
    both = stored.keys() & now.keys()
    return {**stored, **now} if all(stored[name] == now[name] for name in both) else None


def _differs(stored: RecordedRuns | RecordedInvariants | None, conditions: Conditions, mode: Mode) -> str:
    if stored is None or mode == "replace":
        return ""
    difference = stored.conditions.difference(conditions) or stored.conditions.other_environment(conditions)
    return f"{difference}: replace it" if difference else ""


def _other_speed(stored: RecordedRuns | None, new: RecordedRuns) -> str:
    """Return a reason if the machine has another speed now: mixed with others, the run would hide a loss.

    Fewer runs than a verdict needs do not show how much the speed varies by itself.
    """
    for name, series in new.metrics.items():
        earlier = stored.metrics[name].runs if stored and name in stored.metrics else ()
        if len(earlier) < LEAST_RUNS:
            continue
        reason = other_speed(metrics.find(name), [each.control for each in earlier], series.runs[-1].control)
        if reason:
            return f"{reason}: replace it"
    return ""


def _again(stored: RecordedRuns | None, new: RecordedRuns) -> str:
    """Return a reason if a run is stored already: counted twice, it would make the spread look smaller."""
    known: Mapping[str, Series] = stored.metrics if stored else {}
    shared = [(known[name], series) for name, series in new.metrics.items() if name in known]
    # One equal value may be chance, if runs begin in the same second.
    if shared and all(_holds(before, series) for before, series in shared):
        return f"already stored: it is the run of {shared[0][1].runs[-1].provenance.recorded}"
    return ""


def _holds(before: Series, series: Series) -> bool:
    return before.unit == series.unit and any(_same(each, series.runs[-1]) for each in before.runs)


def _same(stored: StoredRun, new: StoredRun) -> bool:
    there, here = stored.provenance, new.provenance
    return here.recorded != "" and (
        (stored.value, there.recorded, there.build, there.llama_cpp_commit)
        == (new.value, here.recorded, here.build, here.llama_cpp_commit)
    )


def _problem(new: RecordedRuns) -> str:
    if not new.metrics:
        return "has no values"
    for name, series in sorted(new.metrics.items()):
        value = series.runs[-1].value
        try:
            metrics.find(name)
        except UnknownNameError as error:
            return str(error)
        if not math.isfinite(value):
            return f"{name} is {value:g}, not a finite number"
        if value <= 0 and series.unit in {"s", "tok/s"}:
            return f"{name} is {value:g}, not above 0"
    return ""
