"""``--llm-build-settings`` says what builds are compiled with that say nothing themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""


@pytest.fixture(autouse=True)
def _benchmark(project: Project) -> None:
    project.write(BENCHMARK)


def _planned(project: Project, candidate: str, *arguments: str) -> str:
    lines = "\n".join(
        project.plan(f"--llm-model={project.model}", f"--llm-candidate={candidate}", *arguments)
    )
    return lines.partition(" on llama-cpp-python")[2].partition(", n_ctx=")[0]


def test_is_nothing_by_default(project: Project) -> None:
    assert _planned(project, "0.3.16") == "@0.3.16"


def test_works_on_the_command_line(project: Project) -> None:
    assert _planned(project, "0.3.16", "--llm-build-settings=-DB=1 -DA=2") == "@0.3.16[-DA=2 -DB=1]"


def test_what_a_build_says_itself_goes_before_it(project: Project) -> None:
    planned = _planned(project, "0.3.16[-DA=9]", "--llm-build-settings=-DA=2 -DB=1")

    assert planned == "@0.3.16[-DA=9 -DB=1]"


def test_is_nothing_to_a_build_that_is_there(project: Project) -> None:
    assert _planned(project, "llama-cpp-python", "--llm-build-settings=-DA=2") == ""


def test_what_is_no_setting_is_refused_in_one_line(project: Project) -> None:
    told = project.usage_error(*project.measuring(), "--llm-build-settings=A=2")

    assert "--llm-build-settings: 'A=2' is no setting; write -DNAME=VALUE" in told
