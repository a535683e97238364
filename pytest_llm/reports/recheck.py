"""A results file judged again from its series alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_llm.checks import (
    check_stored_runs,
    compare,
    compare_runs,
    compare_sides,
    compare_with_stored,
    judge_limits,
    judge_output,
)
from pytest_llm.checks.findings import Drift, Finding, OutputJudgement
from pytest_llm.records import Benchmark, Installed, LoadOptions, Subject, TestKey, Workload
from pytest_llm.reports import reader, results
from pytest_llm.stats.sequential import Rule
from pytest_llm.stats.summary import summarize_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import PairedRun, Run


def rejudge(document: Mapping[str, Any]) -> list[Finding]:
    """Return the findings of a results file, with every metric and verdict computed anew.

    Args:
        document: Of the shape of results-v1, checked.
    """
    runs = {
        name: replace(run, measurements=summarize_all(run.sessions))
        for name, run in reader.runs(document).items()
    }
    pairs = reader.pairs(document, runs)
    rule = document["rule"]
    return [_finding(test, runs, pairs, _rule(rule) if rule else None) for test in document["tests"]]


def differences(document: Mapping[str, Any]) -> list[str]:
    """Return where a results file says otherwise than its own series, a line for each test and metric."""
    when = datetime.now(timezone.utc)  # of no consequence
    again = results.document(rejudge(document), when, when, document["machine"])
    return [
        f"{test['nodeid']}: {name}"
        for test, anew in zip(document["tests"], again["tests"], strict=True)
        for name in [
            *_metrics_apart(test, anew),
            *(["drift"] if _said(test) != _said(anew) else []),
            *(["output"] if test.get("output") != anew.get("output") else []),
            *(["operators"] if test.get("operators", []) != anew["operators"] else []),
        ]
    ]


def _metrics_apart(test: Mapping[str, Any], anew: Mapping[str, Any]) -> list[str]:
    names = sorted({*test["metrics"], *anew["metrics"]})
    return [name for name in names if test["metrics"].get(name) != anew["metrics"].get(name)]


def _said(test: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what is said of a test's drift, but for the name of its pair, which is no finding."""
    drift = test["drift"]
    return drift and {name: each for name, each in drift.items() if name != "pair"}


def _rule(rule: Mapping[str, Any]) -> Rule:
    return Rule(rule["alpha"], rule["beta"], tuple(rule["weights"]), tuple(rule["looks"]), rule["family"])


def _finding(
    test: Mapping[str, Any], runs: Mapping[str, Run], pairs: Mapping[str, PairedRun], rule: Rule | None
) -> Finding:
    run = runs[test["run"]] if test["run"] is not None else None
    benchmark = Benchmark(
        test["nodeid"],
        TestKey(**test["key"]),
        run.subject if run else Subject("", Installed(""), LoadOptions(**test["load_options"])),
        Workload(**test["workload"]),
    )
    if run is None or rule is None:
        return Finding(benchmark, run, problem="; ".join(test["notes"]), outcome=test["outcome"])
    baselines = {name: each["baseline"] for name, each in test["metrics"].items() if each["baseline"]}
    return Finding(
        benchmark,
        run,
        judgements=tuple(judge_limits(run, reader.limits(test))),
        baseline_checks=tuple(
            check_stored_runs(run, gate, stored, rule.family, was["reason"], was.get("left_out", ""))
            for gate, stored in reader.gates(test)
            for was in [baselines[gate.metric.name]]
        ),
        comparisons=tuple(compare_runs(pair, asked, rule) for asked, pair in reader.questions(test, pairs)),
        drift=_drift(test["drift"], run, pairs),
        output=_output(reader.output(test)),
        operators=reader.operators(test),
        outcome=test["outcome"],
    )


def _output(was: OutputJudgement | None) -> OutputJudgement | None:
    if was is None or was.comparison is None:
        return was
    found = was.comparison
    if was.snapshot is not None:
        found = compare_with_stored(was.snapshot, was.stored, found.missing)
    return judge_output(was.gate, found, was.snapshot, was.stored)


def _drift(drift: Mapping[str, Any] | None, run: Run, pairs: Mapping[str, PairedRun]) -> Drift | None:
    if drift is None:
        return None
    if drift["pair"] is not None:
        return compare_sides(pairs[drift["pair"]])
    stored = reader.stored_facts(drift)
    return Drift(reason=drift["reason"]) if stored is None else compare(stored, run.invariants)
