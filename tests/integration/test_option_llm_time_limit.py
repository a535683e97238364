"""``--llm-time-limit`` says how long a pair may be measured."""

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


def _sessions(project: Project, fake: Fake, *arguments: str) -> int:
    project.measure("--llm-aa", *arguments)
    return len(fake.started) // 2 - 1  # both are looked at alone before


def test_is_more_than_short_sessions_take_by_default(project: Project, fake: Fake) -> None:
    assert _sessions(project, fake) == 6


@pytest.mark.parametrize("written", ["0.001", "1 ms", "1ms"])
def test_works_on_the_command_line(project: Project, fake: Fake, written: str) -> None:
    assert _sessions(project, fake, f"--llm-time-limit={written}") == 1


def test_what_it_leaves_undecided_is_not_judged_and_fails(project: Project) -> None:
    result = project.measure("--llm-aa", "--llm-time-limit=1 ms")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["generation speed *: not judged, the time limit was reached after 1 session, * s"]
    )


def test_it_is_no_limit_on_a_subject_alone(project: Project, fake: Fake) -> None:
    project.measure("--llm-time-limit=1 ms").assert_outcomes(passed=1)

    assert len(fake.started) == 3


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("soon", "'soon' is not a duration"),
        ("5 parsecs", "the unit 'parsecs' is not one of ns, us"),
        ("-1", "'-1' is not a duration: it is negative"),
        ("0", "0 would measure nothing"),
    ],
)
def test_a_bad_time_is_one_line(project: Project, written: str, reason: str) -> None:
    line = project.usage_error(f"--llm-time-limit={written}")

    assert line.startswith("ERROR: --llm-time-limit: ")
    assert reason in line


def test_a_bad_time_in_a_file_is_one_line(project: Project, ini: Ini) -> None:
    ini.write(llm_time_limit="soon")

    assert "'soon' is not a duration" in project.usage_error()
