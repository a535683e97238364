"""Stored ratios to an anchor: where they lie, and how much they spread.

Machines of one class have the same instruction sets and types of devices; hosts may differ.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.baselines.records import RecordedRuns
from pytest_llm.errors import UnknownNameError
from pytest_llm.records import Verdict, metrics
from pytest_llm.stats.prediction import Spread, spread_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_llm.baselines.records import Anchor, Series
    from pytest_llm.records import JSON, StoredRun
    from pytest_llm.records.metric import Metric


def class_of(machine_parts: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the parts of a machine that its class has: each type of device once."""
    devices = dict.fromkeys(str(machine_parts.get("devices", "")).split(", "))
    return {
        "instruction_sets": machine_parts.get("instruction_sets", ""),
        "devices": ", ".join(devices),
        "system": machine_parts.get("system", ""),  # instruction sets may be unknown
    }


def class_name(machine_class: Mapping[str, JSON]) -> str:
    """Return the name of a class's folder: equal parts, equal name."""
    text = "\n".join(f"{name}={value}" for name, value in sorted(machine_class.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Offset(NamedTuple):
    """The log ratio of a new anchor to the old one, and how many runs it is the mean of."""

    typical: float
    whole: float | None
    runs: int


def migrated(test: RecordedRuns, offsets: Mapping[str, Offset], anchor: Anchor) -> RecordedRuns:
    """Return the ratios of a test to another anchor.

    Args:
        test: Ratios to the old one.
        offsets: Of each of its metrics, by name.
        anchor: The new one.
    """

    def moved(run: StoredRun, offset: Offset) -> StoredRun:
        known = run.whole is not None and offset.whole is not None
        return replace(
            run,
            value=run.value - offset.typical,
            whole=run.whole - offset.whole if known else None,  # type: ignore[operator] # both are known
            migrated=run.migrated + 1 / offset.runs,
        )

    metrics = {
        name: replace(series, runs=tuple(moved(each, offsets[name]) for each in series.runs))
        for name, series in test.metrics.items()
    }
    return RecordedRuns(replace(test.conditions, anchor=anchor), metrics)


def pooled_spreads(metric: Metric, stored: Iterable[RecordedRuns]) -> tuple[Spread | None, Spread | None]:
    """Return the spreads of typical and whole ratios, over every gate whose metric has the same unit.

    Each gate is taken about its own mean. Runs that regressed when they were measured are left out: one loss
    would widen the interval of every gate.

    Args:
        metric: Of the gate to judge.
        stored: Of all tests of a class.
    """
    groups = [
        [each for each in series.runs if each.note == note and each.verdict is not Verdict.REGRESSED]
        for test in stored
        for series in _of_unit(metric, test.metrics)
        for note in dict.fromkeys(each.note for each in series.runs)
    ]
    wholes = [[each.whole for each in group if each.whole is not None] for group in groups]
    return spread_of([[each.value for each in group] for group in groups]), spread_of(wholes)


def _of_unit(metric: Metric, stored: Mapping[str, Series]) -> Iterator[Series]:
    for name, series in stored.items():
        try:
            unit = metrics.find(name).unit
        except UnknownNameError:
            continue
        if unit == metric.unit:
            yield series
