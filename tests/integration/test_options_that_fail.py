"""``--llm-missing-baseline``, ``--llm-inconclusive`` and ``--llm-uncovered``: what becomes of no answer."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from pytest_llm.machine.memory.rss import ProcessMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Ini, Project

GATED = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression()
    @pytest.mark.llm_ram(max="1 GiB")
    def test_speed():
        pass
"""


def _no_baseline(project: Project, patch: pytest.MonkeyPatch) -> None:
    pass


def _one_run(project: Project, patch: pytest.MonkeyPatch) -> None:
    project.measure("--llm-update-baselines=append")


def _no_memory(project: Project, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ProcessMemory, "watch", lambda self, pid: nullcontext({}))


SITUATIONS: dict[str, tuple[Callable[[Project, pytest.MonkeyPatch], None], str]] = {
    "missing-baseline": (_no_baseline, " has none of test_it.py for this machine"),
    "inconclusive": (_one_run, ": inconclusive, 1 of 5 runs"),
    "uncovered": (_no_memory, "peak RAM cannot be had from fake"),
}


@pytest.fixture(params=SITUATIONS)
def option(request: pytest.FixtureRequest, project: Project, monkeypatch: pytest.MonkeyPatch) -> str:
    project.write(GATED)
    name: str = request.param
    SITUATIONS[name][0](project, monkeypatch)
    return name


def test_warns_by_default_and_says_why(project: Project, option: str) -> None:
    result = project.measure()

    result.assert_outcomes(passed=1)
    assert any(SITUATIONS[option][1] in line for line in result.outlines)


def test_fails_on_the_command_line_and_says_why(project: Project, option: str) -> None:
    text = project.failures(f"--llm-{option}=fail")["test_speed"]

    assert SITUATIONS[option][1] in text
    assert "  candidate fake 1.0" in text


@pytest.mark.slow
def test_works_in_a_file(project: Project, option: str, ini: Ini) -> None:
    ini.write(**{f"llm_{option.replace('-', '_')}": "fail"})

    project.measure().assert_outcomes(failed=1)
    project.measure(f"--llm-{option}=warn").assert_outcomes(passed=1)


def test_fails_nothing_else(project: Project, option: str) -> None:
    others = [f"--llm-{name}=fail" for name in SITUATIONS if name != option]
    if option == "uncovered":
        others.remove("--llm-missing-baseline=fail")  # which is missing here as well

    project.measure(*others).assert_outcomes(passed=1)


def test_baselines_can_be_recorded_all_the_same(project: Project, option: str) -> None:
    fails = 1 if option == "uncovered" else 0

    result = project.measure(f"--llm-{option}=fail", "--llm-update-baselines=append")

    result.assert_outcomes(failed=fails, passed=1 - fails)


def test_an_unknown_word_is_one_line(project: Project, option: str) -> None:
    told = project.usage_error(*project.measuring(), f"--llm-{option}=ignore")

    assert f"unknown --llm-{option} 'ignore'" in told
    assert "fail, warn" in told


def test_help_tells_the_default(project: Project, option: str) -> None:
    for name in (f"--llm-{option}", f"llm_{option.replace('-', '_')}"):
        assert "warn or fail (default: warn)" in project.help(name)
