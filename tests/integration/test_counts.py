"""Counts beside times: shown, gated exactly, and named where a build got slower."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

TEST = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
    {marker}
    def test_it(llm_bench):
        pass
"""


def write(project: Project, arguments: str | None = "'graph_splits'") -> None:
    marker = "" if arguments is None else f"@pytest.mark.llm_no_regression({arguments})"
    project.write(TEST.format(marker=marker))


def only_test(results: dict[str, Any]) -> Any:
    (test,) = results["tests"]
    return test


@pytest.fixture
def against(reference: str) -> str:
    return f"--llm-against={reference}"


def test_counts_are_metrics_of_the_run_and_can_be_limited(project: Project, fake: Fake) -> None:
    fake.set(counts={"graph_splits": 3, "graphs_reused": 2, "kv_cells": 512, "graph_nodes": 936})
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
        @pytest.mark.llm_limit("graph_splits", max=2)
        def test_it(llm_bench):
            assert llm_bench.kv_cells.value == 512
        """
    )
    text = project.failures()["test_it"]
    assert "graph splits is 3, the limit is at most 2: +50.0 % (3 sessions, 3 … 3)" in text
    metrics = only_test(json.loads(results_text(project)))["metrics"]
    assert metrics["graphs_reused"]["samples"] == [2, 2, 2]
    assert (metrics["graphs_reused"]["unit"], metrics["graphs_reused"]["better"]) == ("", "higher")


def results_text(project: Project) -> str:
    project.measure("--llm-json=results.json")
    return (project.path / "results.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("now", "before", "verdict"), [(3, 1, "regressed"), (1, 3, "improved"), (2, 2, "pass")]
)
def test_a_pair_decides_after_one_session(
    project: Project, against: str, fake: Fake, now: int, before: int, verdict: str
) -> None:
    fake.set(counts={"graph_splits": now})
    fake.set_reference(counts={"graph_splits": before})
    write(project)
    results = project.results(against)
    comparison = only_test(results)["metrics"]["graph_splits"]["comparison"]
    assert (comparison["verdict"], comparison["sessions"]) == (verdict, 1)
    assert (comparison["tolerance"], comparison["reference_value"]) == (0, before)
    assert only_test(results)["outcome"] == ("failed" if verdict == "regressed" else "passed")


def test_a_loss_fails_with_one_line_and_a_tolerance_allows_it(
    project: Project, against: str, fake: Fake
) -> None:
    fake.set(counts={"graph_nodes": 940})
    fake.set_reference(counts={"graph_nodes": 936})
    write(project, "'graph_nodes'")
    line = "graph nodes rose from 936 to 940, +0.4 % (a count, 1 session, any loss fails)"
    assert project.failures(against)["test_it"].splitlines()[0] == line
    write(project, "'graph_nodes', tolerance='0.5%'")
    project.measure(against).assert_outcomes(passed=1)


def test_a_slower_build_with_other_counts_is_explained_by_them(
    project: Project, against: str, fake: Fake
) -> None:
    fake.set(token_seconds=1 / 100, counts={"graph_splits": 3, "kv_cells": 512})
    fake.set_reference(token_seconds=1 / 128, counts={"graph_splits": 1, "kv_cells": 512})
    write(project, None)
    result = project.measure(against)
    assert "  counts differ: graph splits 1 → 3" in project.texts(result)["test_it"].splitlines()


@pytest.mark.parametrize("counts", [{}, {"graph_splits": "its log has no such line"}])
def test_what_an_engine_does_not_count_is_not_covered(
    project: Project, against: str, fake: Fake, counts: dict[str, float | str]
) -> None:
    fake.set(counts=counts)
    write(project)
    for options in ((), (against,)):
        results = project.results(*options)
        (missing,) = results["not_covered"]
        assert missing["metric"] == "graph_splits"
        assert str(counts.get("graph_splits", "from fake 1.0")) in missing["reason"]


def test_stored_baselines_decide_by_the_newest_run(project: Project, fake: Fake) -> None:
    write(project)
    fake.set(counts={"graph_splits": 2})
    project.measure("--llm-update-baselines=new").assert_outcomes(passed=1)
    project.measure("--llm-missing-baseline=fail").assert_outcomes(passed=1)
    fake.set(counts={"graph_splits": 3})
    text = project.failures()["test_it"]
    assert text.startswith("graph splits rose from 2 to 3, +50.0 % (a count, 1 stored run, any loss fails)")
    fake.set(counts={"graph_splits": 1})
    project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)
    fake.set(counts={"graph_splits": 2})
    assert "(a count, the newest of 2 stored runs, any loss fails)" in project.failures()["test_it"]


def test_the_verdicts_follow_from_the_results_file(
    project: Project, against: str, fake: Fake, tmp_path: Path
) -> None:
    from pytest_llm.reports import recheck

    fake.set(counts={"graph_splits": 3})
    fake.set_reference(counts={"graph_splits": 1})
    write(project, "'graph_splits', 'generation_tokens_per_second'")
    results = project.results(against)
    assert results["rule"]["family"] == 1
    path = project.path / "results.json"
    assert recheck.read(path)[1] == []
    path.write_text(
        json.dumps(results)
        .replace('"values": [3.0]', '"values": [1.0]')
        .replace('"values": [3]', '"values": [1]'),
        encoding="utf-8",
    )
    assert recheck.read(path)[1] == ["test_it.py::test_it: graph_splits"]
