"""The report in Markdown: what a pull request shows, and what it cannot be made to show."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.records import Verdict
from pytest_llm.records.metrics import METRICS
from pytest_llm.reports import markdown
from pytest_llm.reports.rows import rows, value
from tests.golden import assert_golden

from .examples import results_of_pairs, some_results

if TYPE_CHECKING:
    from pytest_llm.reports.document import TestEntry

GOLDEN = Path(__file__).parent / "golden"
GITHUB_TAKES = 65_536


def test_it_tells_the_verdict_first_then_why_then_the_table() -> None:
    assert_golden(GOLDEN / "two_files.md", markdown.render([some_results(), results_of_pairs()]) + "\n")


def judged(test: TestEntry, *found: Verdict) -> TestEntry:
    """A test that passed although its gates were answered so."""
    entries = [each for each in test.metrics.items() if each[1].comparison is not None]
    metrics = {
        name: replace(entry, claim=None, comparison=replace(entry.comparison, verdict=verdict))
        for (name, entry), verdict in zip(entries, found, strict=False)
        if entry.comparison is not None
    }
    return replace(test, metrics=metrics, outcome="passed", failed_by_verdict=False, drift=None, message=())


def test_a_run_without_failures_says_how_many_tests_have_which_verdict() -> None:
    results = results_of_pairs()
    one, other = results.tests
    tests = (judged(one, Verdict.PASS, Verdict.INCONCLUSIVE), judged(other, Verdict.PASS))
    head = markdown.render([replace(results, tests=tests)]).splitlines()[2]
    assert head == "## ✅ llm-bench: 2 tests, none failed (1 inconclusive, 1 pass)"


def test_a_test_that_failed_by_itself_is_no_verdict() -> None:
    results = some_results()
    text = markdown.render([replace(results, tests=results.tests[2:])])
    assert text.splitlines()[2] == "## ❌ llm-bench: failed, 1 of 1 test failed"
    assert "the worker ended" in text


@pytest.mark.parametrize("count", [300, 3000])
def test_however_many_tests_there_are_it_fits_a_comment_and_counts_the_rest(count: int) -> None:
    results = results_of_pairs()
    failed = results.tests[0]
    tests = tuple(replace(failed, nodeid=f"{failed.nodeid}[{number}]") for number in range(count))
    text = markdown.render([replace(results, tests=tests)])
    assert len(text) < GITHUB_TAKES
    assert f"{count} of {count} tests failed" in text
    left_out = [int(each) for each in re.findall(r"… and (\d+) more (?:failed test|test)s", text)]
    shown = text.count("```text"), text.count("| t.py::d")
    assert [each + others for each, others in zip(shown, left_out, strict=True)] == [count, count]


HOSTILE = "t.py::x[@someone|<img src=x>`#1`\n## a head\n| a | ![i](http://e.com/i.png)]"


def test_no_text_of_a_test_is_markup() -> None:
    results = results_of_pairs()
    tests = (replace(results.tests[0], nodeid=HOSTILE, message=("```", "</pre><h1>", "@someone")),)
    text = markdown.render([replace(results, tests=tests)])
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"(?<!\\)<(?!!--)|^## a head|(?<!\\)!?\[|(?<!\\)`", outside, re.MULTILINE)
    assert "````text" in text


def test_each_thing_that_was_asked_has_a_row() -> None:
    asked = results_of_pairs().tests[0]
    assert [(row.metric, row.verdict and row.verdict.value) for row in rows(asked)] == [
        ("generation speed", "regressed"),
        ("generation speed", "over limit"),  # the claim
        ("load time", "inconclusive"),
        ("first-token latency p90", "regressed"),
    ]


def test_a_test_that_was_asked_nothing_shows_its_speeds() -> None:
    test = some_results().tests[0]
    metrics = {name: replace(each, limit=None, baseline=None) for name, each in test.metrics.items()}
    assert [(row.metric, row.verdict) for row in rows(replace(test, metrics=metrics))] == [
        ("generation speed", None),
        ("first-token latency", None),
    ]


@pytest.mark.parametrize(
    ("low", "high", "noisy", "expected"),
    [
        (0.00098, 0.00134, False, "1.100 ms (980 µs–1.34 ms)"),
        (0.001, 0.0013, False, "1.100 ms (1.00–1.30)"),
        (0.001, 0.0023, True, "1.100 ms (1.00–2.30) noisy"),
        (0.0011, 0.0011, False, "1.100 ms"),
    ],
)
def test_a_value_is_told_with_the_range_of_its_sessions(
    low: float, high: float, noisy: bool, expected: str
) -> None:
    entry = results_of_pairs().tests[0].metrics["load_time"]
    shown = replace(entry, value=0.0011, low=low, high=high, noisy=noisy)
    assert value(METRICS["load_time"], shown) == expected


def test_a_green_head_needs_a_run_that_ended_and_measured() -> None:
    results = some_results()
    passed = tuple(replace(each, outcome="passed", message=()) for each in results.tests)
    heads = {
        name: markdown.render([each]).splitlines()[2]
        for name, each in {
            "green": replace(results, tests=passed),
            "killed": replace(results, tests=passed, finished=False),
            "empty": replace(results, tests=()),
        }.items()
    }
    assert heads["green"].startswith("## ✅ llm-bench: 3 tests, none failed (")
    assert heads["killed"].startswith("## ⚠️ llm-bench: unfinished, 3 tests, none failed (")
    assert heads["empty"] == "## ⚠️ llm-bench: nothing was measured, 0 tests, none failed"
