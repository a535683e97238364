"""``--llm-sandbox``: how the processes that load models are locked in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.system import sandbox
from pytest_llm.system.sandbox.kernel import Support

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Ini, Project

TEST = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed(llm_bench):
        pass
"""


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Support:
    found: Support = request.param
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sandbox, "support", lambda: found)
    return found


WHOLE, PARTLY = Support(7, True), Support(0, True)


@pytest.mark.parametrize("kernel", [WHOLE], indirect=True)
@pytest.mark.parametrize("mode", [None, "on", "strict"])
def test_a_whole_sandbox_is_recorded_and_not_worth_a_line(
    mode: str | None, kernel: Support, project: Project, fake: Fake
) -> None:
    project.write(TEST)
    options = [f"--llm-sandbox={mode}"] if mode else []
    assert "llm-bench: sandbox" not in project.measure(*options).stdout.str()
    assert project.results(*options)["sandbox"] == (mode or "on")


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [WHOLE, PARTLY], indirect=True)
def test_none_is_told_and_recorded(kernel: Support, project: Project, fake: Fake, ini: Ini) -> None:
    project.write(TEST)
    ini.write(llm_sandbox="off")
    shown = project.measure().stdout.str()
    assert "llm-bench: sandbox off: code in a model or a build can do what you can" in shown
    assert project.results()["sandbox"] == "off"


@pytest.mark.parametrize("kernel", [PARTLY], indirect=True)
def test_what_the_kernel_lacks_is_one_line_and_recorded(
    kernel: Support, project: Project, fake: Fake
) -> None:
    project.write(TEST)
    shown = project.measure().outlines
    told = [line for line in shown if "llm-bench: sandbox" in line]
    assert told == [
        "llm-bench: sandbox incomplete: no Landlock, so code in a model or a build can do more than it "
        "should (--llm-sandbox=strict refuses)"
    ]
    assert project.results()["sandbox"] == "on, but no Landlock"


@pytest.mark.parametrize("kernel", [PARTLY], indirect=True)
def test_strict_refuses_what_the_kernel_lacks_if_anything_is_measured(
    kernel: Support, project: Project, fake: Fake
) -> None:
    project.write(TEST)
    assert project.usage_error("--llm-bench", "--llm-sandbox=strict") == (
        "ERROR: --llm-sandbox=strict: workers cannot be locked in whole here: no Landlock; measure on a "
        "newer Linux, or take --llm-sandbox=on, which does what this system can"
    )
    assert project.run("--llm-sandbox=strict").ret == pytest.ExitCode.OK
    assert project.run("--llm-bench", "--llm-sandbox=strict", "--collect-only").ret == pytest.ExitCode.OK


def test_another_mode_is_refused_by_its_name(project: Project) -> None:
    project.write(TEST)
    assert "--llm-sandbox" in project.usage_error("--llm-sandbox=of")
    assert "off" in project.usage_error("--llm-sandbox=of")
