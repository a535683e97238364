"""A report in CSV: one line for each metric of a test, with plain numbers in base units."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from pytest_llm.system.text import LONGEST_LINE, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.reports.document import Results, TestEntry
    from pytest_llm.reports.verdict_entries import ComparisonEntry, MetricEntry

COLUMNS = (
    "started",
    "machine",
    "candidate",
    "reference",
    "test",
    "outcome",
    "model",
    "workload",
    "metric",
    "unit",
    "value",
    "low",
    "high",
    "noisy",
    "sessions",
    "limit",
    "limit_verdict",
    "baseline_value",
    "baseline_change",
    "baseline_low",
    "baseline_high",
    "baseline_verdict",
    "reference_value",
    "change",
    "change_low",
    "change_high",
    "tolerance",
    "verdict",
    "claim_by",
    "claim_verdict",
)
# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(files: Sequence[Results]) -> str:
    """Return the lines of one or more results files, without a newline at the end."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for results in files:
        for test in results.tests:
            for name, entry in test.metrics.items():
                line = {**_run(results, test), "metric": name, **_metric(entry)}
                writer.writerow({column: _cell(each) for column, each in line.items()})
    return text.getvalue().removesuffix("\n")


def _run(results: Results, test: TestEntry) -> dict[str, Any]:
    return {
        "started": results.started,
        "machine": results.machine.fingerprint,
        "candidate": results.candidate,
        "reference": results.reference,
        "test": test.nodeid,
        "outcome": test.outcome,
        "model": test.model and test.model.name,
        "workload": test.workload,
    }


def _metric(entry: MetricEntry) -> dict[str, Any]:
    found: dict[str, Any] = {
        "unit": entry.unit,
        "value": entry.value,
        "low": entry.low,
        "high": entry.high,
        "noisy": entry.noisy,
        "sessions": len(entry.samples),
    }
    if entry.limit is not None:
        found |= {"limit": entry.limit.bound, "limit_verdict": entry.limit.verdict.value}
    if entry.baseline is not None:
        found |= {
            "baseline_value": entry.baseline.value,
            "baseline_change": entry.baseline.change,
            **_interval("baseline", entry.baseline.interval),
            "baseline_verdict": entry.baseline.verdict.value,
        }
    if entry.comparison is not None:
        found |= _comparison(entry.comparison)
    if entry.claim is not None:
        found |= {"claim_by": entry.claim.by, "claim_verdict": entry.claim.verdict.value}
    return found


def _comparison(entry: ComparisonEntry) -> dict[str, Any]:
    return {
        "reference_value": entry.reference_value,
        "change": entry.change,
        **_interval("change", entry.interval),
        "tolerance": entry.tolerance,
        "verdict": entry.verdict.value,
    }


def _interval(name: str, interval: tuple[float, float] | None) -> dict[str, float]:
    return {} if interval is None else {f"{name}_low": interval[0], f"{name}_high": interval[1]}


def _cell(value: object) -> object:
    if value is None or isinstance(value, (int, float)):
        return value
    text = clean(value, LONGEST_LINE)
    return f"'{text}" if text.startswith(_FORMULA) else text
