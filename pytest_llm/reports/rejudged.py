"""A results file judged again from its series alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_llm.findings import Difference, Drift, Finding
from pytest_llm.inference.estimates import measure_all
from pytest_llm.inference.paired import Rule
from pytest_llm.records import Benchmark, BuildReference, LoadOptions, Subject, TestKey, Workload
from pytest_llm.reports import recorded, results
from pytest_llm.verdicts import compare_runs, judge, judge_output, screen_run, without_reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.findings import OutputJudgement
    from pytest_llm.records import PairedRun, Run


def rejudge(document: Mapping[str, Any]) -> list[Finding]:
    """Return the findings of a results file, with every metric and verdict computed anew.

    Args:
        document: Of the shape of results-v1, checked.
    """
    runs = {
        name: replace(run, measurements=measure_all(run.sessions))
        for name, run in recorded.runs(document).items()
    }
    pairs = recorded.pairs(document, runs)
    rule = document["rule"]
    return [_finding(test, runs, pairs, _rule(rule) if rule else None) for test in document["tests"]]


def differences(document: Mapping[str, Any]) -> list[str]:
    """Return where a results file says otherwise than its own series, a line for each test and metric."""
    when = datetime.now(timezone.utc)  # of no consequence
    again = results.document(rejudge(document), when, when, document["machine"])
    return [
        f"{test['nodeid']}: {name}"
        for test, anew in zip(document["tests"], again["tests"], strict=True)
        for name in (*sorted({*test["metrics"], *anew["metrics"]}), "output")
        if _entry(test, name) != _entry(anew, name)
    ]


def _entry(test: Mapping[str, Any], name: str) -> Any:
    return test.get("output") if name == "output" else test["metrics"].get(name)


def _rule(rule: Mapping[str, Any]) -> Rule:
    return Rule(rule["alpha"], rule["beta"], tuple(rule["weights"]), tuple(rule["looks"]), rule["family"])


def _finding(
    test: Mapping[str, Any], runs: Mapping[str, Run], pairs: Mapping[str, PairedRun], rule: Rule | None
) -> Finding:
    run = runs[test["run"]] if test["run"] is not None else None
    benchmark = Benchmark(
        test["nodeid"],
        TestKey(**test["key"]),
        run.subject if run else Subject("", BuildReference(""), LoadOptions(**test["load_options"])),
        Workload(**test["workload"]),
    )
    if run is None or rule is None:
        return Finding(benchmark, run, problem="; ".join(test["notes"]), outcome=test["outcome"])
    reasons = {name: each["baseline"]["reason"] for name, each in test["metrics"].items() if each["baseline"]}
    return Finding(
        benchmark,
        run,
        judgements=tuple(judge(run, recorded.limits(test))),
        screenings=tuple(
            screen_run(run, gate, stored, rule.family, reasons[gate.metric.name])
            for gate, stored in recorded.gates(test)
        ),
        comparisons=tuple(compare_runs(pair, asked, rule) for asked, pair in recorded.questions(test, pairs)),
        drift=_drift(test["drift"]),
        output=_output(test.get("output")),
        outcome=test["outcome"],
    )


def _output(output: Mapping[str, Any] | None) -> OutputJudgement | None:
    if output is None:
        return None
    asked, found = recorded.output(output)
    return without_reference(asked) if found is None else judge_output(asked, found)


def _drift(drift: Mapping[str, Any] | None) -> Drift | None:
    if drift is None:
        return None
    return Drift(tuple(Difference(**each) for each in drift["differences"]), drift["reason"])
