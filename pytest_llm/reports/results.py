"""The results file, results-v1: every other report is made from it alone.

A run, with the series of all its sessions, is written once under ``runs`` and named by the tests that it was
made for; a metric says which of the series it is read from, so that every number traces to what was noted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_llm import __version__
from pytest_llm.checks import notes
from pytest_llm.errors import UsageError
from pytest_llm.records import Gate
from pytest_llm.records.serialization import encode
from pytest_llm.reports import results_schema
from pytest_llm.stats.operators import operator_changes
from pytest_llm.system import atomic_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pytest_llm.checks.findings import (
        BaselineCheck,
        Comparison,
        Drift,
        Finding,
        Judgement,
        OutputJudgement,
    )
    from pytest_llm.records import Measurement, OperatorRun, PairedRun, Run
    from pytest_llm.stats.sequential import Rule

Thing = TypeVar("Thing")


def document(
    findings: Sequence[Finding],
    started: datetime,
    ended: datetime,
    machine: Mapping[str, Any],
    rule: Rule | None = None,
) -> dict[str, Any]:
    """Return the whole file as plain values.

    Args:
        findings: What became of each benchmark, in the order in which they ran.
        started: With its zone.
        ended: With its zone.
        machine: The fingerprint, what it is made of, and since when it is qualified, or None.
        rule: What decided: error rates, and how many gates share them.
    """
    runs = _named("run", [run for each in findings for run in _runs(each)])
    pairs = _named("pair", [each.run for finding in findings for each in finding.comparisons])
    references = [pair.reference.build for pair in pairs.values() if _other_build(pair)]
    outputs = [each.output.comparison for each in findings if each.output is not None]
    references += [each.reference for each in outputs if each is not None and each.reference is not None]
    against = next(iter(references), None)
    return {
        "schema_version": results_schema.VERSION,
        "plugin_version": __version__,
        "started": started.isoformat(timespec="seconds"),
        "duration_s": (ended - started).total_seconds(),
        "machine": dict(machine),
        "candidate": next((encode(run.build) for run in runs.values()), None),
        "reference": encode(against) if against is not None else None,
        "rule": encode(rule) if rule else None,
        "tests": [_test(finding, runs, pairs) for finding in findings],
        "runs": {name: _run(run) for name, run in runs.items()},
        "pairs": {name: _pair(pair, runs) for name, pair in pairs.items()},
        "not_covered": [
            {"nodeid": finding.benchmark.nodeid, "metric": metric, "reason": reason}
            for finding in findings
            for metric, reason in _not_covered(finding).items()
        ],
    }


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Write the file whole or not at all.

    Raises:
        UsageError: It cannot be written there.
        ResultsError: It is not what the schema says; nothing is written.
    """
    results_schema.check(results)
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.replace(path, text.encode())
    except OSError as error:
        raise UsageError(
            f"--llm-json: {path} cannot be written ({error.strerror}); name another file"
        ) from error


def _runs(finding: Finding) -> list[Run]:
    """Return every run that a finding rests on, its own first."""
    own = [finding.run] if finding.run is not None else []
    return own + [run for each in finding.comparisons for run in (each.run.candidate, each.run.reference)]


def _other_build(pair: PairedRun) -> bool:
    return pair.candidate.subject.load_options == pair.reference.subject.load_options


def _named(kind: str, things: Sequence[Thing]) -> dict[str, Thing]:
    """Return each thing once, by a name; the same thing is the same object."""
    once = list({id(thing): thing for thing in things}.values())
    return {f"{kind}-{number}": thing for number, thing in enumerate(once, 1)}


def _name_of(thing: Thing, named: Mapping[str, Thing]) -> str:
    return next(name for name, each in named.items() if each is thing)


def _not_covered(finding: Finding) -> dict[str, str]:
    reasons = {each.limit.metric.name: each.reason for each in finding.judgements if not each.measurement}
    reasons |= {
        each.gate.metric.name: each.reason for each in finding.baseline_checks if not each.measurement
    }
    found = finding.output.comparison if finding.output is not None else None
    if found is not None and found.not_covered:
        reasons["output"] = found.not_covered
    return reasons | {
        each.asked.metric.name: each.reason for each in finding.comparisons if not each.candidate
    }


def _test(finding: Finding, runs: Mapping[str, Run], pairs: Mapping[str, PairedRun]) -> dict[str, Any]:
    benchmark, run = finding.benchmark, finding.run
    return {
        "nodeid": benchmark.nodeid,
        "key": encode(benchmark.key),
        "outcome": finding.outcome,
        "model": _model(run) if run else None,
        "load_options": encode(benchmark.subject.load_options),
        "effective_options": dict(run.effective_options) if run else None,
        "workload": encode(benchmark.workload),
        "run": _name_of(run, runs) if run else None,
        "metrics": _metrics(run, finding, pairs) if run else {},
        "drift": _drift(finding, pairs),
        "output": _output(finding.output),
        "operators": [operators_entry(each) for each in finding.operators],
        "memory": run.effective_options.get("memory") if run else None,
        "notes": notes(finding),
    }


def _model(run: Run) -> dict[str, Any]:
    model = run.model
    return {
        "name": model.name,
        "sha256": model.sha256,
        "architecture": model.architecture,
        "quantization": model.quantization,
        "parameters": model.parameters,
        "file_bytes": model.file_bytes,
    }


def _drift(finding: Finding, pairs: Mapping[str, PairedRun]) -> dict[str, Any] | None:
    if finding.drift is None:
        return None
    shared = [each.run for each in finding.comparisons if isinstance(each.asked, Gate)]
    stored = finding.drift.stored
    return {
        **_compared(finding.drift),
        "pair": _name_of(shared[0], pairs) if shared else None,
        "stored": {"invariants": dict(stored.invariants), **vars(stored.provenance)} if stored else None,
    }


def _compared(drift: Drift) -> dict[str, Any]:
    return {
        "verdict": drift.verdict.value if drift.verdict else None,
        "differences": [dict(vars(each)) for each in drift.differences],
        "reason": drift.reason,
    }


def _output(output: OutputJudgement | None) -> dict[str, Any] | None:
    return None if output is None else dict(encode(output))


def operators_entry(run: OperatorRun) -> dict[str, Any]:
    """Return what was measured of operators, and what follows from it."""
    found = [
        {
            "operator": str(each.case),
            "change": each.change,
            "interval": None if each.interval is None else list(each.interval),
            "share": each.share,
            "differs": each.differs,
        }
        for each in operator_changes(run)
    ]
    return {**encode(run), "found": found}


def _metrics(run: Run, finding: Finding, pairs: Mapping[str, PairedRun]) -> dict[str, Any]:
    entries = {name: _metric(each) for name, each in run.measurements.items()}
    # A percentile that only a marker asked for is not among the run's own metrics.
    for judgement in finding.judgements:
        if judgement.measurement is not None:
            entry = entries.setdefault(judgement.limit.metric.name, _metric(judgement.measurement))
            entry["limit"] = _limit(judgement)
    for baseline_check in finding.baseline_checks:
        if baseline_check.measurement is not None:
            entry = entries.setdefault(baseline_check.gate.metric.name, _metric(baseline_check.measurement))
            entry["baseline"] = _baseline(baseline_check)
    for comparison in finding.comparisons:
        if comparison.candidate is not None:
            entry = entries.setdefault(comparison.asked.metric.name, _metric(comparison.candidate))
            kind = "comparison" if isinstance(comparison.asked, Gate) else "claim"
            entry[kind] = _comparison(comparison, pairs)
    return entries


def _limit(judgement: Judgement) -> dict[str, Any]:
    entry = {"bound": judgement.limit.bound, "verdict": judgement.verdict.value}
    return entry if judgement.interval is None else {**entry, "interval": list(judgement.interval)}


def _baseline(baseline_check: BaselineCheck) -> dict[str, Any]:
    left_out = {"left_out": baseline_check.left_out} if baseline_check.left_out else {}
    return {
        "verdict": baseline_check.verdict.value,
        "tolerance": baseline_check.gate.tolerance,
        "runs": [each.plain() for each in baseline_check.stored],
        "value": baseline_check.value,
        "change": baseline_check.change,
        "interval": None if baseline_check.interval is None else list(baseline_check.interval),
        "reason": baseline_check.reason,
        **left_out,
    }


def _metric(measurement: Measurement) -> dict[str, Any]:
    metric = measurement.metric
    return {
        "value": measurement.value,
        "unit": metric.unit.base,
        "better": metric.better,
        "series": metric.series,
        "percentile": metric.percentile,
        "pooled": metric.pooled,
        "samples": list(measurement.samples),
        "limit": None,
        "baseline": None,
        "comparison": None,
        "claim": None,
    }


def _comparison(comparison: Comparison, pairs: Mapping[str, PairedRun]) -> dict[str, Any]:
    asked, reference, run = comparison.asked, comparison.reference, comparison.run
    assert reference is not None
    return {
        "verdict": comparison.verdict.value,
        **_asked(comparison),
        "pair": _name_of(run, pairs),
        "reference_value": reference.value,
        "reference_samples": list(reference.samples),
        "log_ratios": list(comparison.log_ratios),
        "rounds": [
            len(each.series[asked.metric.series].values)
            for each in run.candidate.sessions
            if asked.metric.series in each.series  # of some, one session has all that there is
        ],
        "sessions": comparison.sessions,
        "change": comparison.change,
        "interval": None if comparison.interval is None else list(comparison.interval),
        "p_regressed": comparison.p_regressed,
        "p_improved": comparison.p_improved,
        "p_ok": comparison.p_ok,
        "mde": comparison.mde,
        "reason": comparison.reason,
    }


def _asked(comparison: Comparison) -> dict[str, Any]:
    if isinstance(comparison.asked, Gate):
        return {"tolerance": comparison.asked.tolerance}
    assert comparison.drift is not None, "a claim has its own"
    return {"by": comparison.asked.by, "drift": _compared(comparison.drift)}


def _pair(pair: PairedRun, runs: Mapping[str, Run]) -> dict[str, Any]:
    return {
        "candidate": _name_of(pair.candidate, runs),
        "reference": _name_of(pair.reference, runs),
        "dropped": [dict(each) for each in pair.dropped],
        "disturbed": [dict(each) for each in pair.disturbed],
        "not_interleaved": pair.not_interleaved,
        "cut_off": pair.cut_off,
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "build": encode(run.build),
        "model": encode(run.model),
        "subject": encode(run.subject),
        "workload": encode(run.workload),
        "effective_options": dict(run.effective_options),
        "sessions": encode(run.sessions),
        "invariants": dict(run.invariants),
    }
