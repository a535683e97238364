"""Outputs of a step: one name and one value a line."""

from __future__ import annotations

import re
from dataclasses import replace

from pytest_llm.records import Verdict
from pytest_llm.reports import github_outputs as outputs

from .examples import results_of_pairs, some_results


def test_they_are_the_worst_verdict_counts_and_what_could_have_been_seen() -> None:
    text = outputs.render([some_results(), results_of_pairs()])
    assert text == outputs.render([some_results(), results_of_pairs()])
    lines = text.splitlines()
    assert all(re.fullmatch(r"[a-z_]+=[\w. :/\[\]-]*", line) for line in lines)
    values = dict(line.split("=") for line in lines)
    assert values["verdict"] == "regressed"
    assert (values["tests"], values["failed"]) == ("5", "5")
    by_verdict = [test.nodeid for test in some_results().tests if test.failed_by_verdict]
    assert values["failed_test"] == by_verdict[0]
    assert {each.value.replace(" ", "_") for each in Verdict} <= set(values)
    metrics = [
        entry
        for test in (*some_results().tests, *results_of_pairs().tests)
        for entry in test.metrics.values()
    ]
    losses = [entry.baseline.calls_from for entry in metrics if entry.baseline]
    losses += [entry.comparison.mde for entry in metrics if entry.comparison]
    assert float(values["detectable_loss"]) == float(f"{max(filter(None, losses)):.6g}")


def test_a_run_that_was_killed_has_passed_nothing() -> None:
    results = some_results()
    passed = tuple(replace(each, outcome="passed", metrics={}, drift=None) for each in results.tests)
    kept = tuple(replace(each, metrics=results.tests[0].metrics) for each in passed[:1])
    for finished, verdict in ((True, "over limit"), (False, "")):
        text = outputs.render([replace(results, tests=kept, finished=finished)])
        values = dict(line.split("=") for line in text.splitlines())
        assert (values["verdict"], values["finished"]) == (verdict, str(finished).lower())


def test_without_a_test_nothing_is_known() -> None:
    values = dict(
        line.split("=") for line in outputs.render([replace(some_results(), tests=())]).splitlines()
    )
    assert (values["verdict"], values["tests"], values["detectable_loss"]) == ("", "0", "")
