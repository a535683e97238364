"""``--llm-none-measured``: result of a run that measures nothing, and why it did not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Ini, Project

BENCHMARKS = """
    def test_one(llm_bench): pass
    def test_two(llm_bench): pass
    def test_ordinary(): pass
"""


def _line(result: pytest.RunResult) -> str:
    (found,) = (line for line in result.outlines if line.startswith("nothing was measured: "))
    return found.removeprefix("nothing was measured: ").rpartition(" (")[0]


def _reason(project: Project, *arguments: str) -> str:
    result = project.measure(*arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    return _line(result)


def test_fails_by_default_and_warns_where_a_shard_says_so(project: Project, ini: Ini) -> None:
    project.write("def test_ordinary(): pass")
    assert project.measure().ret == pytest.ExitCode.TESTS_FAILED
    assert project.measure("--llm-none-measured=warn").ret == pytest.ExitCode.OK

    ini.write(llm_none_measured="warn")
    result = project.measure()
    assert result.ret == pytest.ExitCode.OK
    assert _line(result).startswith("no selected test is a benchmark; ")
    assert project.measure("--llm-none-measured=fail").ret == pytest.ExitCode.TESTS_FAILED


def test_another_value_is_refused(project: Project) -> None:
    line = project.usage_error("--llm-bench", "--llm-none-measured=ignore")

    assert "unknown --llm-none-measured 'ignore': known: fail, warn" in line


def test_warns_of_no_failure_of_a_test(project: Project) -> None:
    project.write("def test_ordinary(): assert False")

    assert project.measure("--llm-none-measured=warn").ret == pytest.ExitCode.TESTS_FAILED


def test_says_that_there_are_no_benchmarks(project: Project) -> None:
    project.write("def test_ordinary(): pass")

    assert _reason(project).startswith("no selected test is a benchmark; give one the marker llm_workload, ")


@pytest.mark.parametrize(
    ("arguments", "count"),
    [(("-k", "ordinary"), 2), (("-m", "not llm_bench"), 2), (("--deselect=test_it.py", "-k", "one"), 2)],
)
def test_says_that_all_are_deselected(project: Project, arguments: tuple[str, ...], count: int) -> None:
    project.write(BENCHMARKS)

    assert _reason(project, *arguments) == (
        f"all {count} benchmarks were deselected, by -k, -m or another selection"
    )


def test_says_that_all_are_broken(project: Project, fake: Fake) -> None:
    fake.set(fault="load")
    project.write("@pytest.mark.llm_workload(depth=-1)\ndef test_one(): pass\ndef test_two(llm_bench): pass")

    assert _reason(project) == "all 2 benchmarks were broken before anything was measured"


def test_says_that_all_are_skipped(project: Project) -> None:
    project.write("pytestmark = pytest.mark.skip\n" + "def test_one(llm_bench): pass")

    assert _reason(project) == "the only benchmark was skipped"


def test_says_each_where_it_is_some_of_all(project: Project) -> None:
    project.write(
        """
        @pytest.mark.skip
        @pytest.mark.llm_model(n_ctx=512)
        def test_one(llm_bench): pass

        @pytest.mark.llm_workload(depth=-1)
        def test_two(): pass

        def test_three(llm_bench): pass
        """
    )

    assert _reason(project, "-x") == (
        "of 3 benchmarks, 1 was skipped and 1 was broken before anything was measured and 1 was not run"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    ["import missing", "def test_zero(): raise KeyboardInterrupt"],
    ids=["a module that cannot be imported", "Ctrl-C"],
)
def test_says_nothing_of_benchmarks_in_a_run_that_something_else_ended(project: Project, source: str) -> None:
    project.write(f"{source}\ndef test_one(llm_bench): pass")

    done = project.run_apart(*project.measuring())

    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "nothing was measured" not in done.stdout
