"""The report in CSV: plain numbers that the results file has, and no formula."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from pytest_llm.reports import comma_separated

from .examples import results_of_pairs, some_results


def test_each_metric_of_each_file_has_a_line_with_the_numbers_of_the_file() -> None:
    files = [some_results(), results_of_pairs()]
    lines = list(csv.DictReader(io.StringIO(comma_separated.render(files))))
    entries = [entry for file in files for test in file.tests for entry in test.metrics.values()]
    assert [float(each["value"]) for each in lines] == [entry.value for entry in entries]
    compared = [each for each in entries if each.comparison is not None]
    found = [each for each in lines if each["verdict"]]
    assert [each["verdict"] for each in found] == [
        each.comparison.verdict.value for each in compared if each.comparison is not None
    ]
    assert all(None not in each for each in lines)


def test_no_text_is_a_formula() -> None:
    results = results_of_pairs()
    tests = (replace(results.tests[0], nodeid="=HYPERLINK(1)"),)
    lines = list(csv.DictReader(io.StringIO(comma_separated.render([replace(results, tests=tests)]))))
    assert {each["test"] for each in lines} == {"'=HYPERLINK(1)"}
