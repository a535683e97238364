"""A machine that is another one under the same fingerprint: its speed is measured, stored and compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main
from pytest_llm.machine import fingerprint
from pytest_llm.machine.control import measure_control

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

GATED = """
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    @pytest.mark.llm_no_regression()
    def test_speed(llm_bench):
        pass
"""
GIB = 2.0**30
SPREAD = (1.0, 1.01, 0.99, 1.02, 0.98)


def _record(project: Project, fake: Fake) -> None:
    project.write(GATED)
    for factor in SPREAD:
        fake.set(token_seconds=factor / 128, machine=(10 * GIB * factor, 100e9))
        project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)


def _file(project: Project) -> Path:
    return project.path / "baselines" / "machines" / fingerprint.fingerprint() / "test_it.py.json"


def _verdicts(project: Project) -> dict[str, tuple[str, str]]:
    (test,) = project.results()["tests"]
    return {
        name: (metric["baseline"]["verdict"], metric["baseline"]["reason"])
        for name, metric in test["metrics"].items()
        if metric["baseline"]
    }


def test_a_host_that_is_1_7_times_as_fast_has_no_baseline_and_has_not_improved(
    project: Project, fake: Fake
) -> None:
    _record(project, fake)
    fake.set(token_seconds=1 / 128 / 1.66, machine=(17 * GIB, 170e9))

    reason = "the machine is 1.7 times as fast now (arithmetic)"
    found = _verdicts(project)

    assert {verdict for verdict, _ in found.values()} == {"no baseline"}
    assert found["prompt_tokens_per_second"][1] == reason
    result = project.measure("--llm-missing-baseline=fail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*prompt speed: no baseline, {reason}"])


def test_a_slower_host_has_no_baseline_and_has_not_regressed(project: Project, fake: Fake) -> None:
    _record(project, fake)
    fake.set(token_seconds=2 / 128, machine=(5 * GIB, 50e9))
    assert {verdict for verdict, _ in _verdicts(project).values()} == {"no baseline"}


def test_a_build_that_is_slower_on_the_same_machine_has_regressed(project: Project, fake: Fake) -> None:
    _record(project, fake)
    fake.set(token_seconds=2 / 128, machine=(10 * GIB, 100e9))
    assert {verdict for verdict, _ in _verdicts(project).values()} == {"regressed"}


def test_less_bandwidth_leaves_the_speed_of_prompts_judged(project: Project, fake: Fake) -> None:
    _record(project, fake)
    fake.set(token_seconds=2 / 128, machine=(5 * GIB, 100e9))
    assert _verdicts(project) == {
        "prompt_tokens_per_second": ("regressed", ""),
        "generation_tokens_per_second": (
            "no baseline",
            "the machine is 2 times as slow now (memory bandwidth)",
        ),
    }


def test_a_machine_whose_speed_was_not_measured_is_judged_and_told(project: Project, fake: Fake) -> None:
    _record(project, fake)
    fake.set(token_seconds=2 / 128, machine=())
    text = project.failures()["test_speed"]
    assert "5 stored runs, the machine's own speed was not compared: not measured each time" in text


def test_the_speed_is_stored_with_run_and_baseline_and_measured_once(
    project: Project, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def control(threads: int) -> Any:
        asked.append(threads)
        return answer(threads)

    from tests import fake_engine

    answer = fake_engine.control
    monkeypatch.setattr(fake_engine, "control", control)
    project.write(
        """
        @pytest.mark.llm_model(n_threads=3)
        @pytest.mark.llm_no_regression()
        @pytest.mark.parametrize("n_ctx", [512, 1024])
        def test_speed(llm_bench, n_ctx): ...

        @pytest.mark.llm_model(n_threads=3, n_ctx=256)
        def test_other(llm_bench): ...
        """
    )
    fake.set(machine=(10 * GIB, 100e9))
    results = project.results("--llm-update-baselines=append")
    expected = {"bandwidth": 10 * GIB, "arithmetic": 100e9, "threads": 3, "method": "fake"}
    assert asked == [3]
    assert [run["control"] for run in results["runs"].values()] == [expected] * len(results["runs"])
    tests = json.loads(_file(project).read_text(encoding="utf-8"))["tests"]
    runs = [run for test in tests.values() for series in test["metrics"].values() for run in series["runs"]]
    assert {json.dumps(run["control"], sort_keys=True) for run in runs} == {
        json.dumps(expected, sort_keys=True)
    }


def test_a_run_that_measures_nothing_measures_no_control(
    project: Project, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(GATED)
    monkeypatch.setattr("tests.fake_engine.control", None)  # to call it would fail
    project.run("--collect-only").assert_outcomes()
    project.run().assert_outcomes(skipped=1)
    project.run("--llm-bench", "--collect-only").assert_outcomes()


@pytest.mark.slow
def test_a_run_of_another_machine_is_not_appended(project: Project, fake: Fake) -> None:
    _record(project, fake)
    fake.set(token_seconds=1 / 128 / 1.66, machine=(17 * GIB, 170e9))
    before = _file(project).read_bytes()
    result = project.measure("--llm-update-baselines=append")
    result.stdout.fnmatch_lines(["*the machine is 1.7 times as fast now (arithmetic): replace it*"])
    assert _file(project).read_bytes() == before
    project.measure("--llm-update-baselines=replace").assert_outcomes(passed=1)
    assert {verdict for verdict, _ in _verdicts(project).values()} == {"inconclusive"}  # 1 of 5 runs


def test_the_first_five_runs_show_how_much_the_speed_varies_by_itself(project: Project, fake: Fake) -> None:
    project.write(GATED)
    for number, share in enumerate((1.0, 0.7, 1.3, 1.5, 0.8)):
        fake.set(token_seconds=share / 128, machine=(10 * GIB / share, 100e9 / share))
        project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)
        (test,) = json.loads(_file(project).read_text(encoding="utf-8"))["tests"].values()
        assert len(test["metrics"]["prompt_tokens_per_second"]["runs"]) == number + 1
    fake.set(token_seconds=1.6 / 128, machine=(10 * GIB / 1.6, 100e9 / 1.6))
    assert "no baseline" not in {verdict for verdict, _ in _verdicts(project).values()}


def test_the_report_of_a_results_file_comes_to_the_same_verdict(project: Project, fake: Fake) -> None:
    _record(project, fake)
    fake.set(machine=(17 * GIB, 170e9))
    project.results()
    assert main(["report", str(project.path / "results.json")]) == 0


def test_this_machine_has_a_speed_and_it_takes_no_threads_that_were_not_asked_for() -> None:
    found = measure_control(1)
    assert found is not None
    assert found.threads == 1
    assert found.bandwidth > 1e8  # a tenth of a gigabyte a second, slower than any machine
    assert found.arithmetic > 1e8
    assert found.method.startswith("numpy ")


def test_a_process_that_does_not_start_or_fails_leaves_the_speed_unknown(tmp_path: Path) -> None:
    assert measure_control(1, str(tmp_path / "nowhere")) is None
    assert measure_control(0) is None  # no threads, no work
