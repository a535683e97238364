"""``--llm-bench`` runs benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Ini, Project

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""


@pytest.fixture(autouse=True)
def _benchmark(project: Project) -> None:
    project.write(BENCHMARK)


def _measure(project: Project, *arguments: str) -> pytest.RunResult:
    return project.run(f"--llm-candidate={project.candidate}", f"--llm-model={project.model}", *arguments)


def test_is_off_by_default(project: Project) -> None:
    _measure(project).assert_outcomes(skipped=1)


def test_works_on_the_command_line(project: Project) -> None:
    _measure(project, "--llm-bench", "--llm-effort=quick").assert_outcomes(passed=1)


def test_can_be_off_in_a_file(project: Project, ini: Ini) -> None:
    ini.write(llm_bench=False)

    _measure(project).assert_outcomes(skipped=1)


def test_a_value_that_is_neither_true_nor_false_is_one_line(project: Project, ini: Ini) -> None:
    ini.write(llm_bench="perhaps")

    line = project.usage_error()

    assert "llm_bench" in line
    assert "did you mean" not in line


def test_takes_no_value(project: Project) -> None:
    result = project.run("--llm-bench=yes")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--llm-bench: ignored explicit argument 'yes'"])
