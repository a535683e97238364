"""``--llm-bench-only`` runs benchmarks and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Ini, Project

MIXED = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass

    def test_arithmetic():
        assert 1 + 1 == 2

    def test_talk(gguf_model):
        assert gguf_model.alive
"""


@pytest.fixture(autouse=True)
def _mixed(project: Project) -> None:
    project.write(MIXED)


def _measure(project: Project, *arguments: str) -> pytest.RunResult:
    return project.run(f"--llm-candidate={project.candidate}", f"--llm-model={project.model}", *arguments)


def test_is_off_by_default(project: Project) -> None:
    _measure(project, "--llm-bench", "--llm-effort=quick").assert_outcomes(passed=3)


def test_works_on_the_command_line_without_llm_bench(project: Project) -> None:
    _measure(project, "--llm-bench-only", "--llm-effort=quick").assert_outcomes(passed=1, deselected=2)


def test_a_value_that_is_neither_true_nor_false_is_one_line(project: Project, ini: Ini) -> None:
    ini.write(llm_bench_only="perhaps")

    assert "llm_bench_only" in project.usage_error()
