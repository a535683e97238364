"""``--llm-aa`` compares the candidate with itself."""

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


def _plan(project: Project, *arguments: str) -> str:
    model = f"--llm-model={project.model}"
    return "\n".join(project.plan(model, f"--llm-candidate={project.candidate}", *arguments))


def test_is_off_by_default(project: Project) -> None:
    assert " against " not in _plan(project)


def test_works_on_the_command_line(project: Project) -> None:
    assert f" on {project.candidate} against itself, " in _plan(project, "--llm-aa")


def test_the_command_line_cannot_be_taken_back_by_a_file(project: Project, ini: Ini) -> None:
    ini.write(llm_aa=False)

    assert " against itself, " in _plan(project, "--llm-aa")


def test_the_candidate_is_measured_beside_itself(project: Project, fake: Fake) -> None:
    results = project.results("--llm-aa")

    assert len(fake.started) == 2 * (1 + 6)
    assert results["reference"] == results["candidate"]
    (test,) = results["tests"]
    compared = {name: each["comparison"] for name, each in test["metrics"].items() if each["comparison"]}
    assert set(compared) == {"prompt_tokens_per_second", "generation_tokens_per_second"}
    assert {each["verdict"] for each in compared.values()} == {"pass"}
    assert (test["drift"]["verdict"], test["drift"]["differences"]) == ("pass", [])


def test_a_value_that_is_none_is_one_line(project: Project, ini: Ini) -> None:
    ini.write(llm_aa="perhaps")

    assert "llm_aa" in project.usage_error()
