"""The results file: every number can be had again from the series in it."""

from __future__ import annotations

import json
import os
from datetime import datetime
from fnmatch import fnmatch
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.system.atomic_file import UNFINISHED

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

TWO_WORKLOADS = """
    small = pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)

    @small
    @pytest.mark.llm_tokens_per_second(min=1)
    @pytest.mark.llm_first_token_latency(max="1 h", percentile=95)
    def test_kept():
        pass

    @small
    @pytest.mark.llm_inter_token_latency(max="1 ms")
    def test_exceeded():
        pass

    @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=5, depth=4, parallel=2)
    def test_other():
        pass
"""


def _percentile(values: list[float], percent: float) -> float:
    """Interpolate between the closest ranks, by other code than the plugin's."""
    if len(values) == 1 or percent == 50:
        return median(values)
    return quantiles(values, n=1000, method="inclusive")[round(percent * 10) - 1]


def _speeds(found: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Return all tokens by all seconds, of the run and of each session."""
    tokens = [sum(each["token_counts"]) or each["tokens"] * len(each["values"]) for each in found]
    seconds = [sum(each["values"]) for each in found]
    return sum(tokens) / sum(seconds), [each / total for each, total in zip(tokens, seconds, strict=True)]


def _again(results: dict[str, Any], test: dict[str, Any], name: str) -> tuple[float, list[float]]:
    """Compute a metric's value and samples from nothing but what the file holds."""
    metric = test["metrics"][name]
    if metric["unit"] == "tok/s":
        return _speeds(
            [each["series"][metric["series"]] for each in results["runs"][test["run"]]["sessions"]]
        )
    observed = []
    for session in results["runs"][test["run"]]["sessions"]:
        series = session["series"][metric["series"]]
        observed.append(series["values"])
    samples = [_percentile(values, metric["percentile"]) for values in observed]
    if metric["pooled"]:
        return _percentile([each for values in observed for each in values], metric["percentile"]), samples
    return median(samples), samples


def test_every_value_and_sample_follows_from_the_series(project: Project, fake: Fake) -> None:
    fake.set(jitter=1)
    project.write(TWO_WORKLOADS)

    results = project.results()

    checked = 0
    for test in results["tests"]:
        for name, metric in test["metrics"].items():
            value, samples = _again(results, test, name)
            assert metric["value"] == pytest.approx(value, rel=1e-12), name
            assert metric["samples"] == pytest.approx(samples, rel=1e-12), name
            assert len(metric["samples"]) == 3
            checked += 1
    assert checked > 30


def test_every_verdict_on_a_limit_follows_from_the_file(project: Project) -> None:
    project.write(TWO_WORKLOADS)

    kept, exceeded, other = project.results()["tests"]

    assert kept["metrics"]["generation_tokens_per_second"]["limit"] == {
        "bound": 1,
        "verdict": "pass",
        "interval": None,
    }
    assert kept["metrics"]["first_token_latency_p95"]["limit"] == {
        "bound": 3600,
        "verdict": "pass",
        "interval": None,
    }
    assert exceeded["metrics"]["inter_token_latency_p50"]["limit"] == {
        "bound": 0.001,
        "verdict": "over limit",
        "interval": None,
    }
    assert all(metric["limit"] is None for metric in other["metrics"].values())
    assert [kept["outcome"], exceeded["outcome"], other["outcome"]] == ["passed", "failed", "passed"]


def test_a_run_that_tests_share_is_written_once(project: Project) -> None:
    project.write(TWO_WORKLOADS)

    results = project.results()

    assert [test["run"] for test in results["tests"]] == ["run-1", "run-1", "run-2"]
    assert list(results["runs"]) == ["run-1", "run-2"]
    assert results["runs"]["run-2"]["workload"] == {
        "prompt_tokens": 8,
        "generate_tokens": 5,
        "depth": 4,
        "parallel": 2,
        "embed": False,
    }


def test_says_what_was_measured_where_and_when(project: Project) -> None:
    project.write(TWO_WORKLOADS)

    results = project.results()
    test = results["tests"][0]

    assert results["schema_version"] == 1
    assert datetime.fromisoformat(results["started"]).tzinfo is not None
    assert 0 < results["duration_s"] < 60
    assert set(results["machine"]) == {
        "fingerprint",
        "cpu",
        "revision",
        "caches",
        "instruction_sets",
        "cores",
        "memory_gib",
        "devices",
        "system",
        "qualified",
    }
    assert test["nodeid"] == "test_it.py::test_kept"
    assert test["key"] == {"module": "test_it.py", "name": "test_kept", "parameters": ""}
    assert test["model"]["file_bytes"] == project.model.stat().st_size
    assert test["load_options"]["n_ctx"] == test["effective_options"]["n_ctx"] == 4096


def test_parameters_are_part_of_a_tests_key(project: Project) -> None:
    project.write(
        """
        class TestSpeed:
            @pytest.mark.llm_workload(prompt_tokens=[4, 8], generate_tokens=2)
            def test_prompt(self):
                pass
        """
    )

    assert [test["key"] for test in project.results()["tests"]] == [
        {"module": "test_it.py", "name": "TestSpeed::test_prompt", "parameters": "prompt_tokens=4"},
        {"module": "test_it.py", "name": "TestSpeed::test_prompt", "parameters": "prompt_tokens=8"},
    ]


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("def test_it(llm_bench): pass", "passed"),
        ("def test_it(llm_bench): assert False", "failed"),
        ("def test_it(llm_bench): pytest.skip()", "skipped"),
        ("@pytest.fixture\ndef nothing(): pytest.skip()\ndef test_it(llm_bench, nothing): pass", "skipped"),
        ("@pytest.fixture\ndef bad(): assert False\ndef test_it(llm_bench, bad): pass", "error"),
        (
            "@pytest.fixture\ndef late():\n  yield\n  assert False\ndef test_it(llm_bench, late): pass",
            "error",
        ),
        ("@pytest.mark.llm_tokens_per_second(min=200)\ndef test_it(llm_bench): pass", "failed"),
    ],
)
def test_an_outcome_is_the_tests_own(project: Project, source: str, outcome: str) -> None:
    project.write(source)

    (test,) = project.results()["tests"]

    assert test["outcome"] == outcome
    assert test["metrics"]


def test_a_benchmark_that_could_not_be_measured_says_why(project: Project, fake: Fake) -> None:
    project.write(TWO_WORKLOADS)
    fake.set(fault="load")

    tests = project.results()["tests"]

    assert [test["outcome"] for test in tests] == ["error"] * 3
    assert all("fake: it refused to load " in test["notes"][0] for test in tests)
    assert all(test["run"] is None and test["metrics"] == {} for test in tests)


def test_a_file_that_cannot_be_finished_leaves_the_old_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("def test_it(llm_bench): pass")
    old = project.write("the results of last week", "results.json").read_text(encoding="utf-8")

    def fill_the_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_the_disk)
    result = project.measure("--llm-json=results.json")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["--llm-json: *results.json cannot be written (No space left on device); *"])
    assert (project.path / "results.json").read_text(encoding="utf-8") == old
    assert list(project.path.glob(f"{UNFINISHED}*")) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file/r.json", "*/file is no folder"),
        ("file/below/r.json", "*/file is no folder"),
        ("nowhere/r.json", "*/nowhere is no folder"),
        ("r.json", "it is a link to nothing"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_anything_is_measured(
    project: Project, fake: Fake, path: str, reason: str
) -> None:
    project.write("def test_it(llm_bench): pass")
    (project.path / "file").touch()
    for name in ("nowhere", "r.json"):
        (project.path / name).symlink_to("gone/gone")
    line = project.usage_error(*project.measuring(), f"--llm-json={path}")
    assert fnmatch(line, f"*--llm-json: *{path} cannot be written ({reason}); name another file"), line
    assert fake.started == []
    assert len(list(project.path.iterdir())) == 4  # nothing was made


def test_a_file_that_was_not_written_is_not_announced(project: Project) -> None:
    project.write("def test_arithmetic(): pass")

    result = project.measure("--llm-json=results.json")

    announced = any(line.startswith("results in") for line in result.outlines)
    assert announced == (project.path / "results.json").exists()


def test_is_json_without_infinities(project: Project) -> None:
    project.write("def test_it(llm_bench): pass")
    project.results()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (project.path / "results.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=refuse)
