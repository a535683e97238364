"""``--llm-timeout`` says how long a worker may take for one answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Ini, Project, StandIn

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""


@pytest.fixture(autouse=True)
def _hanging_benchmark(project: Project, stand_in: StandIn) -> None:
    project.write(BENCHMARK)
    stand_in.set(fault="decode:3=hang")


def _ended_after(project: Project, *arguments: str) -> str:
    """Return after what time the hanging worker was ended, in the message's words."""
    began = time.monotonic()
    result = project.measure(*arguments)
    assert time.monotonic() - began < 10
    result.assert_outcomes(errors=1)
    (line,) = {line for line in result.outlines if "gave no answer for" in line and "ERROR" not in line}
    return line.split("gave no answer for ")[1].split(" while ")[0]


@pytest.mark.slow
@pytest.mark.parametrize("written", ["0.5", "500 ms", "0.5s"])
def test_works_on_the_command_line(project: Project, written: str) -> None:
    assert _ended_after(project, f"--llm-timeout={written}") == "0.5 s"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("soon", "'soon' is not a duration"),
        ("5 parsecs", "the unit 'parsecs' is not one of ns, us"),
        ("-1", "'-1' is not a duration: it is negative"),
        ("0", "0 would end every worker"),
    ],
)
def test_a_bad_time_is_one_line(project: Project, written: str, reason: str) -> None:
    line = project.usage_error(f"--llm-timeout={written}")

    assert line.startswith("ERROR: --llm-timeout: ")
    assert reason in line


def test_a_bad_time_in_a_file_is_one_line(project: Project, ini: Ini) -> None:
    ini.write(llm_timeout="soon")

    assert "'soon' is not a duration" in project.usage_error()
