"""``pytest-llm baselines diff``: how results differ from what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import full_name
from pytest_llm.checks.drift import sentence
from pytest_llm.checks.format import counted, percent
from pytest_llm.cli import command
from pytest_llm.cli.baselines import comparison
from pytest_llm.cli.baselines.common import by_folder, described, read_results, store_of
from pytest_llm.records import Verdict
from pytest_llm.records.serialization import encode
from pytest_llm.reports.table import aligned

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_llm.checks.findings import BaselineCheck
    from pytest_llm.cli.baselines.comparison import Compared, TestDiff
    from pytest_llm.reports.document import Results

_TEXT = command.Text(
    summary="compare results files with the stored baselines of their machine",
    more="Judges every metric as pytest judges gates: with the tolerance of the test's llm_no_regression or "
    "the metric's own, at the error rate that the file's gates share. Metrics without a gate are printed and "
    "do not change the exit status.",
    statuses="0; 1 if a gated metric regressed",
    example="pytest-llm baselines diff results.json",
)


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    parser = command.add(commands, "diff", _TEXT, run)
    command.add_results_to(parser)
    return parser


def run(arguments: argparse.Namespace) -> command.Answer:
    compared = [
        (path, folder, part, comparison.diff(part, store_of(part, folder)))
        for path, results in read_results(arguments.results)
        for folder, part in by_folder(results, arguments.baselines)
    ]
    lines: list[str] = []
    for each in compared:
        lines += [*([""] if lines else []), *_lines(*each)]
    metrics = [metric for *_, tests in compared for test in tests for metric in test.metrics]
    regressed = any(metric.gated and metric.regressed for metric in metrics)
    document = {"regressed": regressed, "results": [_document(*each) for each in compared]}
    return command.Answer(int(regressed), lines, document)


def _lines(path: Path, folder: Path, results: Results, tests: Sequence[TestDiff]) -> list[str]:
    machine, gates = results.machine, comparison.family_of(results)
    head = [
        f"{path} of {results.started}, compared with {folder}",
        *([f"candidate {results.candidate}"] if results.candidate is not None else []),
        f"machine {machine.fingerprint}: {described(machine.parts())}",
        f"rule: as for {counted(gates, 'gate')} that share{'s' if gates == 1 else ''} the error rate",
    ]
    details = [line for test in tests for line in ["", *_test_lines(test)]]
    return [*head, *details, "", *_conclusion(tests, machine.fingerprint, folder)]


def _test_lines(test: TestDiff) -> list[str]:
    name = full_name(test.key)
    if test.problem:
        return [f"{name}: {test.problem}"]
    reasons = {each.baseline_check.reason for each in test.metrics if each.baseline_check.value is None}
    if len(reasons) == 1 and all(each.baseline_check.value is None for each in test.metrics):
        how = "new" if test.new else "cannot be compared"
        return [f"{name}: {how}: {reasons.pop()}", f"  {sentence(test.drift)}"]
    rows = [["", "stored", "now", "change", ""], *(_row(each) for each in test.metrics)]
    return [name, *(f"  {line}" for line in aligned(rows)), f"  {sentence(test.drift)}"]


def _row(compared: Compared) -> list[str]:
    baseline_check = compared.baseline_check
    return [
        baseline_check.gate.metric.name,
        *_values(baseline_check),
        "-" if baseline_check.change is None else percent(baseline_check.change),
        _verdict(compared),
    ]


def _values(check: BaselineCheck) -> list[str]:
    """Return what is stored and what was measured; of ratios, how many times the anchor's."""
    if check.anchored is not None and check.value is not None and check.change is not None:
        return [f"{each:.3f} × anchor" for each in (check.value, check.value * (1 + check.change))]
    unit, measured = check.gate.metric.unit, check.measurement
    return [
        "-" if check.value is None else unit.format(check.value),
        "-" if measured is None else unit.format(measured.value),
    ]


def _verdict(compared: Compared) -> str:
    baseline_check = compared.baseline_check
    word = "new" if compared.new else baseline_check.verdict.value
    reasons = [each for each in (baseline_check.reason, baseline_check.left_out) if each and not compared.new]
    reason = f": {', '.join(reasons)}" if reasons else ""
    gate = f" (gate, tolerance {baseline_check.gate.tolerance * 100:g} %)" if compared.gated else ""
    return f"{word}{reason}{gate}"


def _conclusion(tests: Sequence[TestDiff], fingerprint: str, folder: Path) -> list[str]:
    measured = [test for test in tests if not test.problem]
    if not measured:
        return ["nothing to compare: no test of these results was measured"]
    if all(test.new for test in measured):
        return [
            f"none of these tests has baselines of the machine {fingerprint} in {folder}: accept them, or, "
            "if they should have some, name their folder with --baselines"
        ]
    gated = [(test, each) for test in measured for each in test.metrics if each.gated]
    others = [(test, each) for test in measured for each in test.metrics if not each.gated]
    lines = [_count("gated metrics", [each for _, each in gated])] if gated else ["no metric is gated"]
    lines += [
        f"not gated, {each.baseline_check.verdict.value}: {full_name(test.key)}, "
        f"{each.baseline_check.gate.metric.name}"
        for test, each in others
        if each.baseline_check.verdict in {Verdict.REGRESSED, Verdict.IMPROVED}
    ]
    new = sum(test.new for test in measured)
    return [*lines, *([f"{counted(new, 'test')} new"] if new else [])]


def _count(what: str, metrics: Sequence[Compared]) -> str:
    verdicts = [each.baseline_check.verdict for each in metrics]
    details = [f"{verdicts.count(each)} {each.value}" for each in Verdict if each in verdicts]
    return f"{what}: {', '.join(details)}"


def _document(path: Path, folder: Path, results: Results, tests: Sequence[TestDiff]) -> dict[str, Any]:
    return {
        "file": str(path),
        "folder": str(folder),
        "started": results.started,
        "machine": encode(results.machine),
        "candidate": encode(results.candidate),
        "family": comparison.family_of(results),
        "tests": [_test_document(each) for each in tests],
    }


def _test_document(test: TestDiff) -> dict[str, Any]:
    return {
        "key": encode(test.key),
        "problem": test.problem,
        "new": test.new,
        "metrics": {each.baseline_check.gate.metric.name: _metric_document(each) for each in test.metrics},
        "drift": {
            "verdict": test.drift.verdict.value if test.drift.verdict else None,
            "differences": [dict(vars(each)) for each in test.drift.differences],
            "reason": test.drift.reason,
        },
    }


def _metric_document(compared: Compared) -> dict[str, Any]:
    baseline_check = compared.baseline_check
    return {
        "unit": baseline_check.gate.metric.unit.base,
        "better": baseline_check.gate.metric.better,
        "gated": compared.gated,
        "new": compared.new,
        "tolerance": baseline_check.gate.tolerance,
        "runs": len(baseline_check.stored),
        "stored": baseline_check.value,
        "now": baseline_check.measurement.value if baseline_check.measurement else None,
        "change": baseline_check.change,
        "interval": baseline_check.interval,
        "verdict": baseline_check.verdict.value,
        "reason": baseline_check.reason,
        "left_out": baseline_check.left_out,
    }
