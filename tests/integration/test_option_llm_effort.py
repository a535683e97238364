"""``--llm-effort`` says how many sessions a subject gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Ini, Project

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""


@pytest.fixture(autouse=True)
def _benchmark(project: Project) -> None:
    project.write(BENCHMARK)


def _sessions(project: Project, *arguments: str) -> int:
    plan = project.plan(f"--llm-model={project.model}", *arguments)
    return int(plan[1].rsplit(": ", 1)[1].partition(" sessions of ")[0])


def test_is_normal_by_default(project: Project) -> None:
    assert _sessions(project) == 5


@pytest.mark.parametrize(("effort", "sessions"), [("quick", 3), ("normal", 5), ("thorough", 10)])
def test_works_on_the_command_line(project: Project, effort: str, sessions: int) -> None:
    assert _sessions(project, f"--llm-effort={effort}") == sessions


def test_a_session_is_a_fresh_process(project: Project, fake: Fake) -> None:
    project.measure("--llm-effort=normal").assert_outcomes(passed=1)

    assert len(fake.started) == 5


def test_an_unknown_effort_is_one_line_with_the_nearest(project: Project, ini: Ini) -> None:
    ini.write(llm_effort="throrough")

    assert "unknown --llm-effort 'throrough': did you mean thorough?" in project.usage_error()
    assert "unknown --llm-effort 'fast'" in project.usage_error("--llm-effort=fast")
