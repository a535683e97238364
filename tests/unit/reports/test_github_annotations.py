"""Annotations: commands that GitHub obeys, and no other."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pytest_llm.reports.github_annotations import MOST, render
from tests.golden import assert_golden

from .examples import results_of_pairs, some_results

GOLDEN = Path(__file__).parent / "golden"
FILES = [some_results(), results_of_pairs()]


def test_each_failed_test_has_one_at_its_line_errors_of_the_set_up_too() -> None:
    text = render(FILES)
    assert text == render(FILES)
    assert_golden(GOLDEN / "annotations.txt", text + "\n")


def test_of_more_than_github_shows_the_number_is_told() -> None:
    (test, *_), results = some_results().tests, some_results()
    lines = render([replace(results, tests=(test,) * (MOST + 3))]).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error"] * MOST + ["::notice"]
    assert lines[-1] == "::notice title=llm-bench::3 more tests failed: see the summary of the job"
    assert len(render([replace(results, tests=(test,) * MOST)]).splitlines()) == MOST


def test_no_test_no_line() -> None:
    results = some_results()
    passed = tuple(replace(each, outcome="passed") for each in results.tests)
    assert render([replace(results, tests=passed)]) == ""


def test_what_proves_nothing_is_a_warning() -> None:
    results = replace(some_results(), tests=())
    for each, reason in ((results, "nothing was measured"), (replace(results, finished=False), "unfinished")):
        line = f"::warning title=llm-bench::{reason}: that no other test failed proves nothing"
        assert render([each]) == line


def test_no_text_of_a_test_is_a_command_of_its_own() -> None:
    results = some_results()
    hostile = "50 %: a,b\n::set-env name=X::1\r\n::stop-commands::x"
    test = replace(
        results.tests[0], nodeid=f"t.py::a[{hostile}]", file=f"{hostile}.py", message=(hostile, "::error::2")
    )
    (line,) = render([replace(results, tests=(test,))]).splitlines()
    head, _, told = line.removeprefix("::error ").partition("::")
    assert sorted(part.partition("=")[0] for part in head.split(",")) == ["file", "line", "title"]
    assert "%3A" in head
    assert "%2C" in head
    assert re.findall(r"%(?!0A|25)", told) == []


def test_what_is_unknown_of_the_place_is_left_out() -> None:
    results = some_results()
    test = replace(results.tests[0], line=0)
    assert render([replace(results, tests=(test,))]).startswith("::error title=llm-bench%3A ")
