"""The options of pytest-benchmark do on benchmarks of models what its users expect."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Ini, Project, StandIn

OURS_AND_OTHERS = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=1000)
    def test_marked():
        pass

    def test_asks(llm_bench):
        assert llm_bench.generation_tokens_per_second.value == 128

    def test_function(benchmark):
        benchmark.pedantic(int)

    def test_arithmetic():
        pass
"""
SKIPPED = "Skipping benchmark (--benchmark-skip active)."
NOT_A_BENCHMARK = "Skipping non-benchmark (--benchmark-only active)."
NOT_ASKED_FOR = "a benchmark: run it with --llm-bench"


@pytest.fixture
def mixed(project: Project) -> Project:
    project.write(OURS_AND_OTHERS)
    return project


def _skipped(result: pytest.RunResult) -> dict[str, str]:
    """Return why each test was skipped."""
    recorder: pytest.HookRecorder = result.reprec  # type: ignore[attr-defined] # set by in-process runs
    return {
        report.nodeid.partition("::")[2]: report.longrepr[2].removeprefix("Skipped: ")
        for report in recorder.getreports("pytest_runtest_logreport")
        if isinstance(report, pytest.TestReport) and report.skipped and isinstance(report.longrepr, tuple)
    }


class TestSkip:
    def test_has_its_own_reason_without_our_flag(self, mixed: Project) -> None:
        assert _skipped(mixed.run("--benchmark-skip")) == dict.fromkeys(
            ["test_marked", "test_asks", "test_function"], SKIPPED
        )

    def test_with_our_flag_is_refused_wherever_each_is_given(
        self, mixed: Project, ini: Ini, fake: Fake
    ) -> None:
        refusal = "--llm-bench runs benchmarks and --benchmark-skip skips them: "
        assert refusal in mixed.usage_error("--llm-bench", "--benchmark-skip")
        assert refusal in mixed.usage_error("--llm-bench-only", "--benchmark-skip")
        ini.write(addopts=["--benchmark-skip"])
        assert refusal in mixed.usage_error("--llm-bench")
        ini.write(llm_bench=True)
        assert refusal in mixed.usage_error("--benchmark-skip")
        ini.write(llm_bench=True, addopts=["--benchmark-skip"])
        assert refusal in mixed.usage_error()
        assert fake.started == []

    def test_is_overridden_by_only(self, mixed: Project) -> None:
        result = mixed.measure("--benchmark-skip", "--benchmark-only")

        assert _skipped(result) == {"test_arithmetic": NOT_A_BENCHMARK}

    def test_with_only_a_run_that_measured_nothing_is_red(self, project: Project) -> None:
        project.write("def test_arithmetic(): pass")

        result = project.measure("--benchmark-skip", "--benchmark-only")

        assert result.ret == pytest.ExitCode.TESTS_FAILED


class TestOnly:
    def test_runs_ours_and_skips_the_others(self, mixed: Project) -> None:
        result = mixed.measure("--benchmark-only")

        result.assert_outcomes(passed=2, failed=1, skipped=1)
        assert _skipped(result) == {"test_arithmetic": NOT_A_BENCHMARK}

    def test_does_not_run_ours_without_our_flag(self, mixed: Project, fake: Fake) -> None:
        result = mixed.run("--benchmark-only")

        assert _skipped(result) == {
            "test_marked": NOT_ASKED_FOR,
            "test_asks": NOT_ASKED_FOR,
            "test_arithmetic": NOT_A_BENCHMARK,
        }
        assert fake.started == []

    def test_skips_functional_tests(self, project: Project) -> None:
        project.write("def test_talk(gguf_model): pass")

        assert _skipped(project.run("--benchmark-only")) == {"test_talk": NOT_A_BENCHMARK}


class TestDisable:
    """Only pytest-benchmark's own records are switched off."""

    @pytest.mark.slow
    @pytest.mark.parametrize("given", ["on the command line", "in addopts"])
    def test_ours_are_measured_and_judged_and_have_no_records(
        self, mixed: Project, ini: Ini, fake: Fake, given: str
    ) -> None:
        flag = ["--benchmark-disable"] if given == "on the command line" else []
        ini.write(addopts=[] if flag else ["--benchmark-disable"])

        result = mixed.measure(*flag, "--benchmark-autosave", "--llm-json=r.json")

        result.assert_outcomes(passed=3, failed=1)
        assert "the limit is at least 1000 tok/s" in mixed.texts(result)["test_marked"]
        assert len(fake.started) == 3
        assert list((mixed.path / ".benchmarks").rglob("*.json")) == []
        assert not any(line.startswith("Name (time in") for line in result.outlines)
        tests = json.loads((mixed.path / "r.json").read_text(encoding="utf-8"))["tests"]
        metrics = [metric for test in tests for metric in test["metrics"].values()]
        assert {len(metric["samples"]) for metric in metrics} == {3}

    def test_baselines_are_stored(self, mixed: Project) -> None:
        mixed.measure("--benchmark-disable", "--llm-update-baselines=append", "-k", "asks")

        assert list((mixed.path / "baselines").rglob("*.json"))

    def test_is_undone_by_enable(self, mixed: Project) -> None:
        result, records = mixed.recorded("--benchmark-disable", "--benchmark-enable")

        result.assert_outcomes(passed=3, failed=1)
        assert set(records) == {"test_marked", "test_asks", "test_function"}


@pytest.mark.slow
def test_under_xdist_nothing_is_said_of_benchmarks_that_nobody_wanted(project: Project) -> None:
    warning = "Benchmarks are automatically disabled because xdist"  # its older releases always say so
    project.write("def test_arithmetic(): pass", "test_other.py")
    without = project.pytester.runpytest_subprocess("-n2")
    project.write("@pytest.mark.llm_workload(prompt_tokens=4)\ndef test_marked(): pass")

    result = project.pytester.runpytest_subprocess("-n2")

    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, skipped=1)
    assert (warning in result.stderr.str()) == (warning in without.stderr.str())


def test_the_table_has_no_test_of_ours_unless_it_is_asked_for(project: Project) -> None:
    project.write("def test_it(llm_bench): pass\n\ndef test_arithmetic(benchmark): benchmark(abs, 1)")

    plain = project.measure("--benchmark-json=records.json").stdout
    plain.fnmatch_lines(["Name (time in *", "test_arithmetic *"])
    plain.no_fnmatch_line("test_it *")
    records = json.loads((project.path / "records.json").read_text())["benchmarks"]
    assert {each["name"] for each in records} == {"test_it", "test_arithmetic"}
    project.measure("--benchmark-sort=name").stdout.fnmatch_lines(["Name (time in *", "test_it *"])


def test_columns_and_group_by_shape_the_table(project: Project) -> None:
    project.write("@pytest.mark.llm_workload(prompt_tokens=[4, 8])\ndef test_it(): pass")

    result = project.measure(
        "--benchmark-columns=min,rounds", "--benchmark-group-by=param:_llm_choice", "--benchmark-time-unit=s"
    )

    result.stdout.fnmatch_lines(
        [
            "*benchmark '_llm_choice=prompt_tokens=4': 1 tests*",
            "Name (time in s)*Min*Rounds",
            "test_it?prompt_tokens=4?*",
            "*benchmark '_llm_choice=prompt_tokens=8': 1 tests*",
            "test_it?prompt_tokens=8?*",
        ]
    )
    result.stdout.no_fnmatch_line("*StdDev*")


def test_an_option_that_makes_pytest_benchmark_raise_costs_no_results(project: Project) -> None:
    project.write("def test_it(llm_bench): pass")

    project.measure("--benchmark-group-by=param:missing", "--llm-json=results.json")

    assert (project.path / "results.json").exists()


class TestSavedRuns:
    @pytest.fixture(autouse=True)
    def _a_benchmark(self, project: Project) -> None:
        project.write("def test_it(llm_bench): pass")

    def _compared(self, project: Project, *arguments: str) -> pytest.RunResult:
        return project.pytester.runpytest_subprocess(
            *arguments, *project.measuring(), "--benchmark-compare", "--benchmark-compare-fail=mean:5%"
        )

    @pytest.mark.slow
    def test_are_shown_by_the_command_compare(self, project: Project, fake: Fake) -> None:
        project.measure("--benchmark-save=first")
        fake.set(token_seconds=1 / 64)
        project.measure("--benchmark-autosave")

        command = shutil.which("pytest-benchmark", path=Path(sys.executable).parent)
        assert command is not None
        done = subprocess.run(
            [command, "compare", "--columns=min"],
            cwd=project.path,
            capture_output=True,
            text=True,
            check=True,
        )

        lines = [line.split() for line in done.stdout.splitlines()]
        rows = {line[1]: line[2] for line in lines if line[:1] == ["test_it"]}
        assert list(rows.values()) == ["1.4922", "2.9844"]
        assert "first" in next(iter(rows))

    def test_keep_every_request_where_data_are_saved(self, project: Project) -> None:
        project.measure("--benchmark-save=first", "--benchmark-save-data")

        (saved,) = (project.path / ".benchmarks").rglob("*_first.json")
        (record,) = json.loads(saved.read_text(encoding="utf-8"))["benchmarks"]
        assert set(record["stats"]["data"]) == {1.4921875}

    @pytest.mark.slow
    def test_a_slower_run_fails_the_comparison_and_is_told_all_the_same(
        self, worker: Project, stand_in: StandIn
    ) -> None:
        worker.measure("--benchmark-autosave")
        stand_in.set(token_seconds=1 / 100)

        result = self._compared(worker, "-p", "llm_bench")  # loaded first, its summary would come last

        assert result.ret != pytest.ExitCode.OK
        assert "Performance has regressed" in result.stderr.str()
        result.stdout.fnmatch_lines(
            ["candidate llama-cpp-python *", "test_it.py::test_it", "  prompt speed *100.0 tok/s*"]
        )

    @pytest.mark.slow
    def test_an_equal_run_passes_the_comparison(self, worker: Project) -> None:
        worker.measure("--benchmark-autosave")

        result = self._compared(worker)

        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["test_it (*0001*)*", "test_it (NOW)*"])
