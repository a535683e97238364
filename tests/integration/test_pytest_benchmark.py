"""A benchmark's record in pytest-benchmark: the same seconds, in the files that its users know."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, StandIn

UNEVEN = {"token_seconds": 0.0012345, "jitter": 0.3}


class TestRounds:
    @pytest.mark.slow
    def test_are_the_requests_of_the_same_run_to_the_last_digit(
        self, worker: Project, stand_in: StandIn
    ) -> None:
        stand_in.set(**UNEVEN)
        worker.write("def test_it(llm_bench): pass")

        # In a process of its own: older releases leave the file to the garbage collector, which warns.
        options = [*worker.measuring(), "--benchmark-json=benchmarks.json", "--llm-json=results.json"]
        worker.pytester.runpytest_subprocess(*options)
        stats = worker.records("benchmarks.json")["test_it"]["stats"]

        (run,) = json.loads((worker.path / "results.json").read_text(encoding="utf-8"))["runs"].values()
        seconds = [value for session in run["sessions"] for value in session["series"]["request"]["values"]]
        assert len(set(seconds)) > 1
        assert stats["data"] == seconds
        assert stats["rounds"] == len(seconds)
        assert stats["iterations"] == 1
        assert (stats["min"], stats["max"]) == (min(seconds), max(seconds))
        assert stats["mean"] == statistics.mean(seconds)

    @pytest.mark.parametrize(
        "option", ["--benchmark-warmup=on", "--benchmark-min-rounds=99", "--benchmark-cprofile=tottime"]
    )
    def test_are_not_eaten_by_what_is_meant_for_functions(self, project: Project, option: str) -> None:
        project.write("def test_it(llm_bench): pass")

        stats = project.recorded(option)[1]["test_it"]["stats"]

        assert set(stats["data"]) == {1.4921875}  # 191 tokens of 1/128 s: the last one is not decoded
        assert stats["rounds"] <= 30

    @pytest.mark.parametrize("timer", ["--benchmark-timer=time.time", "-v"])
    def test_need_no_other_timer(self, project: Project, timer: str) -> None:
        project.write(
            """
            import time

            @pytest.mark.benchmark(timer=time.monotonic)
            def test_it(llm_bench):
                pass
            """
        )

        record = project.recorded(timer)[1]["test_it"]

        assert record["stats"]["min"] == 1.4921875
        assert record["options"]["timer"] == "replayed"


class TestEveryKindOfBenchmark:
    def test_has_a_record(self, project: Project) -> None:
        project.write(
            """
            import unittest

            pytestmark = pytest.mark.llm_model(n_ctx=1024)

            @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
            def test_marked():
                pass

            def test_asks(llm_bench):
                pass

            @pytest.fixture
            def speed(llm_bench):
                return llm_bench.generation_tokens_per_second.value

            def test_asks_through_another(speed):
                assert speed == 128

            @pytest.mark.llm_workload(prompt_tokens=[4, 8])
            def test_listed():
                pass

            @pytest.mark.parametrize(
                "number", [1, pytest.param(2, marks=pytest.mark.llm_workload(prompt_tokens=4))]
            )
            def test_sometimes(number):
                pass

            class TestCase(unittest.TestCase):
                @pytest.mark.llm_workload(prompt_tokens=4)
                def test_method(self):
                    pass
            """
        )

        result, records = project.recorded("-W", "error::pytest.PytestWarning")

        result.assert_outcomes(passed=8)
        assert set(records) == {
            "test_marked",
            "test_asks",
            "test_asks_through_another",
            "test_listed[prompt_tokens=4]",
            "test_listed[prompt_tokens=8]",
            "test_sometimes[2]",
            "test_method",
        }

    def test_parameters_are_plain_text(self, project: Project) -> None:
        project.write("@pytest.mark.llm_workload(prompt_tokens=[4, 8])\ndef test_it(): pass")

        assert [each["params"] for each in project.recorded()[1].values()] == [
            {"_llm_choice": "prompt_tokens=4"},
            {"_llm_choice": "prompt_tokens=8"},
        ]

    def test_a_row_in_the_table_beside_rows_of_functions(self, project: Project) -> None:
        project.write(
            """
            def test_model(llm_bench):
                pass

            def test_function(benchmark):
                benchmark.pedantic(int)
            """
        )

        result = project.measure("--benchmark-sort=name")

        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["Name (time in *)*", "test_function *", "test_model *"])

    def test_a_failed_benchmark_keeps_its_record(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_tokens_per_second(min=1000)
            def test_over_limit():
                pass

            def test_own_assertion(llm_bench):
                assert not llm_bench
            """
        )

        result, records = project.recorded()

        result.assert_outcomes(failed=2)
        assert set(records) == {"test_over_limit", "test_own_assertion"}
        assert records["test_over_limit"]["extra_info"]["verdicts"] == {
            "generation_tokens_per_second": "over limit"
        }

    def test_one_that_skips_itself_or_cannot_be_measured_has_none(self, project: Project) -> None:
        project.write(
            """
            def test_good(llm_bench):
                pass

            def test_skips(llm_bench):
                pytest.skip("no reason")

            @pytest.mark.llm_model("missing.gguf")
            def test_without_a_model(llm_bench):
                pass
            """
        )

        result, records = project.recorded("-W", "error::pytest.PytestWarning")

        result.assert_outcomes(passed=1, skipped=1, errors=1)
        assert set(records) == {"test_good"}


class TestExtraInfo:
    def test_is_what_was_found_on_what(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=4, depth=8, parallel=2)
            @pytest.mark.llm_first_token_latency(max="10 s", percentile=95)
            def test_it():
                pass
            """
        )

        info = project.recorded("--llm-json=results.json")[1]["test_it"]["extra_info"]

        written = json.loads((project.path / "results.json").read_text(encoding="utf-8"))
        (test,) = written["tests"]
        build = written["candidate"]
        assert "first_token_latency_p95" in test["metrics"]
        assert {name: info[name] for name in test["metrics"]} == {
            name: {key: metric[key] for key in ("value", "unit", "samples")}
            for name, metric in test["metrics"].items()
        }
        assert {name: value for name, value in info.items() if name not in test["metrics"]} == {
            "verdicts": {"first_token_latency_p95": "pass"},
            "baseline_verdicts": {},
            "build": {key: build[key] for key in ("engine", "version", "llama_cpp_commit")},
            "model": {key: test["model"][key] for key in ("name", "sha256")},
            "workload": {
                "prompt_tokens": 16,
                "generate_tokens": 4,
                "depth": 8,
                "parallel": 2,
                "embed": False,
            },
            "load_options": test["load_options"],
        }

    def test_keeps_what_the_test_wrote(self, project: Project) -> None:
        project.write(
            """
            def test_it(llm_bench, benchmark):
                benchmark.extra_info["mine"] = 1
                benchmark.extra_info["model"] = "also mine"
            """
        )

        info = project.recorded()[1]["test_it"]["extra_info"]

        assert (info["mine"], info["model"]) == (1, "also mine")


class TestGroup:
    def test_is_none_by_default(self, project: Project) -> None:
        project.write("def test_it(llm_bench): pass")

        assert project.recorded()[1]["test_it"]["group"] is None

    def test_is_the_users(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.benchmark(group="marked")
            def test_marked(llm_bench):
                pass

            @pytest.mark.benchmark(group="class")
            class TestClass:
                def test_in_class(self, llm_bench):
                    pass

            def test_set(llm_bench, benchmark):
                benchmark.group = "set"
            """
        )

        records = project.recorded()[1]

        assert {name: record["group"] for name, record in records.items()} == {
            "test_marked": "marked",
            "test_in_class": "class",
            "test_set": "set",
        }

    def test_a_marker_that_pytest_benchmark_refuses_is_still_refused(self, project: Project) -> None:
        project.write('@pytest.mark.benchmark("group")\ndef test_it(llm_bench): pass')

        assert "can't have positional arguments" in project.failures()["test_it"]
