"""The fixture ``benchmark``: the user's own use of it, one of the user's own, and none at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project


class TestTheUsersOwnUse:
    @pytest.mark.parametrize("use", ["benchmark(int)", "benchmark.pedantic(int)"])
    @pytest.mark.parametrize("option", ["--benchmark-enable", "--benchmark-disable"])
    def test_of_the_fixture_in_a_benchmark_is_one_clear_line(
        self, project: Project, use: str, option: str
    ) -> None:
        project.write(f"def test_it(llm_bench, benchmark): {use}")

        (text,) = project.failures(option).values()

        assert text.startswith(
            "the fixture benchmark holds the requests of this test's model and can time nothing else: "
            "move what it was called with to a test of its own"
        )
        assert len(text.splitlines()) == 1

    def test_that_was_swallowed_fails_the_test_as_well(self, project: Project) -> None:
        project.write(
            """
            def test_it(llm_bench, benchmark):
                with pytest.raises(Exception):
                    benchmark(int)
            """
        )

        assert "can time nothing else" in project.failures()["test_it"]

    def test_leaves_the_other_records_alone(self, project: Project) -> None:
        project.write("def test_both(llm_bench, benchmark): benchmark(int)\ndef test_it(llm_bench): pass")

        assert set(project.recorded()[1]) == {"test_it"}

    @pytest.mark.parametrize("flag", [True, False])
    def test_in_a_functional_test_times_what_the_test_says(self, project: Project, flag: bool) -> None:
        project.write(
            """
            def test_talk(gguf_model, benchmark):
                answer = benchmark.pedantic(gguf_model.generate, ("hello",), {"max_tokens": 2}, rounds=3)
                assert answer.text == "fg"
            """
        )
        measuring = project.measuring() if flag else project.measuring()[1:]

        result = project.run(*measuring, *project.saving())

        result.assert_outcomes(passed=1)
        record = project.records()["test_talk"]
        assert record["stats"]["rounds"] == 3
        assert record["options"]["timer"] == "perf_counter"
        assert record["extra_info"] == {}


class TestWithoutPytestBenchmark:
    def test_benchmarks_run_and_are_judged(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_tokens_per_second(min=1000)
            def test_slow(llm_bench):
                assert llm_bench.generation_tokens_per_second.value == 128

            @pytest.mark.llm_workload(prompt_tokens=4)
            def test_marked():
                pass
            """
        )

        result = project.measure("-p", "no:benchmark", "--strict-markers")

        result.assert_outcomes(passed=1, failed=1)
        assert "the limit is at least 1000 tok/s" in project.texts(result)["test_slow"]

    def test_a_fixture_of_the_users_that_has_its_name_is_left_alone(self, project: Project) -> None:
        project.write(
            """
            @pytest.fixture
            def benchmark():
                pytest.fail("nobody asked for it")
            """,
            "conftest.py",
        )
        project.write("def test_it(llm_bench): pass")

        project.measure("-p", "no:benchmark").assert_outcomes(passed=1)


def test_a_namesake_of_the_users_costs_the_record_and_nothing_else(project: Project) -> None:
    project.write("@pytest.fixture\ndef benchmark(): return 7", "conftest.py")
    project.write("def test_it(llm_bench): pass")

    result = project.measure("-W", "default")

    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*PytestWarning: no record in pytest-benchmark, *"])


def test_a_fixture_of_the_users_may_wrap_the_real_one(project: Project) -> None:
    project.write(
        """
        @pytest.fixture
        def benchmark(benchmark):
            benchmark.group = "wrapped"
            return benchmark
        """,
        "conftest.py",
    )
    project.write("def test_it(llm_bench): pass")

    assert project.recorded()[1]["test_it"]["group"] == "wrapped"
