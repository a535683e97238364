"""The summary at the widths of terminals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llm.reports.heading import heading
from pytest_llm.reports.terminal import render, summary
from tests.golden import assert_golden

from .examples import results_of_pairs, some_results

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_table_fits_the_terminal(width: int) -> None:
    both = [*summary(some_results(), width), *summary(results_of_pairs(), width)]
    shown = [str(line) for line in both]
    assert_golden(GOLDEN / f"terminal_{width}.txt", "\n".join(shown) + "\n")
    table = [line for line in shown if line.startswith("  ")]
    assert max(map(len, table)) <= width


def test_where_it_ran_names_gpus_and_how_many_layers_are_on_them() -> None:
    results = some_results()
    runs = {
        name: replace(run, effective_options={"layers_offloaded": "0/31"})
        for name, run in results.runs.items()
    }
    shown = heading(replace(results, runs=runs, machine=replace(results.machine, devices="GPU A, GPU B")))
    assert shown[1:] == ["machine abc: a CPU, 2 cores, 24 GiB, GPU A, GPU B", "0 of 31 layers of m on a GPU"]
    assert heading(replace(results, runs=runs))[1:] == ["machine abc: a CPU, 2 cores, 24 GiB"]


def test_what_fails_is_red_what_is_open_yellow_and_what_is_right_green() -> None:
    colours = {line.verdict: line.colour for line in summary(results_of_pairs(), 120) if line.verdict}
    assert colours == {
        "regressed": "red",
        "over limit": "red",
        "inconclusive": "yellow",
        "drift": "yellow",
    }


def test_a_report_on_several_files_begins_each_with_why_its_tests_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    files = [some_results(), results_of_pairs()]
    text = render(files)
    assert text == render(files)
    assert text.startswith("t.py::a:\nfirst-token latency p95 is 400.0 ms, the limit is at most 300.0 ms")
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("t.py::") and line.endswith(":")] == [
        "t.py::a:",
        "t.py::b:",
        "t.py::d:",
        "t.py::e:",
    ]
