"""``--llm-operators`` says which operation got slower, where a build did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.builds.provider import Provider
from pytest_llm.errors import BuildError

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression("generation_tokens_per_second")
    def test_speed(llm_bench):
        pass
"""


@pytest.fixture(autouse=True)
def _benchmark(project: Project, fake: Fake) -> None:
    project.write(BENCHMARK)
    fake.set(token_seconds=0.02)


@pytest.fixture
def slower(fake: Fake) -> None:
    fake.set_reference(token_seconds=0.01)


def operators(project: Project, reference: str, *more: str) -> list[dict[str, Any]]:
    (test,) = project.results(f"--llm-against={reference}", *more)["tests"]
    found: list[dict[str, Any]] = test["operators"]
    return found


@pytest.mark.usefixtures("slower")
def test_is_off_by_default(project: Project, reference: str) -> None:
    assert operators(project, reference) == []


@pytest.mark.usefixtures("slower")
def test_a_build_without_sources_is_told_on_the_command_line(project: Project, reference: str) -> None:
    (found,) = operators(project, reference, "--llm-operators")

    assert (found["phase"], found["times"], found["found"]) == ("generation", [], [])
    assert found["not_covered"] == [f"{project.candidate} has no sources here"]


def test_nothing_is_measured_where_nothing_got_slower(project: Project, reference: str) -> None:
    assert operators(project, reference, "--llm-operators") == []


@pytest.mark.usefixtures("slower")
def test_the_failure_tells_it_and_keeps_its_verdict(
    project: Project, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Provider, "tree", lambda *_: Unmakeable())

    text = project.failures(f"--llm-against={reference}", "--llm-operators")["test_speed"]

    assert "generation speed fell from 100.0 tok/s to 50.00 tok/s" in text
    assert "generation: operators not compared: there is no compiler" in text


class Unmakeable:
    """Sources of which nothing can be made."""

    source = Path()
    commit = "abc"

    def program(self, name: str, on_progress: object) -> Path:
        raise BuildError("there is no compiler")
