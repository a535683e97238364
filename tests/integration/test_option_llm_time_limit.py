"""``--llm-time-limit`` says how long a workload may be measured, and ``--llm-budget`` the whole run."""

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

    @pytest.mark.llm_workload(prompt_tokens=64, generate_tokens=64)
    def test_longer():
        pass
"""
FLAGS = ["--llm-time-limit", "--llm-budget"]
every_flag = pytest.mark.parametrize("flag", FLAGS)


@pytest.fixture(autouse=True)
def _benchmark(project: Project) -> None:
    project.write(BENCHMARK)


@pytest.fixture
def optimistic(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan for a machine on which nothing takes time, and take 20 ms to load."""
    monkeypatch.setattr("pytest_llm.measure.duration.START_SECONDS", 0.0)
    fake.set(machine=(1e18, 1e18), pause=0.02)


def _sessions(project: Project, fake: Fake, *arguments: str) -> int:
    project.measure("--llm-aa", "-k", "speed", *arguments)
    return len(fake.started) // 2 - 1  # both are looked at alone before


def test_is_more_than_short_sessions_take_by_default(project: Project, fake: Fake) -> None:
    assert _sessions(project, fake) >= 6


@pytest.mark.usefixtures("optimistic")
@pytest.mark.parametrize("written", ["0.05", "50 ms", "50ms"])
@every_flag
def test_works_on_the_command_line(project: Project, fake: Fake, flag: str, written: str) -> None:
    assert _sessions(project, fake, f"{flag}={written}") == 1


@pytest.mark.usefixtures("optimistic")
@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--llm-time-limit=50 ms", "--llm-time-limit is 50 ms, and 1 session took * ms"),
        ("--llm-budget=50 ms", "* ms of --llm-budget were left, and 1 session took * ms"),
    ],
)
def test_what_it_leaves_undecided_is_not_judged_and_fails(project: Project, flag: str, reason: str) -> None:
    result = project.measure("--llm-aa", "-k", "speed", flag)

    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [f"generation speed *: not judged, {reason}", "*::test_speed", "  generation speed *  not judged"]
    )


@every_flag
def test_a_plan_that_takes_longer_is_refused_before_anything_starts(
    project: Project, fake: Fake, flag: str
) -> None:
    line = project.usage_error(*project.measuring(), "--llm-aa", f"{flag}=2 s")

    assert line.startswith(f"ERROR: {flag} 2 s: t")
    assert " until a single loss can be called: raise the " in line
    assert "test_it.py::test_" in line
    assert fake.started == []


@every_flag
def test_a_subject_alone_has_limits_as_well(project: Project, fake: Fake, flag: str) -> None:
    line = project.usage_error(*project.measuring(), f"{flag}=2 s")

    assert line.startswith(f"ERROR: {flag} 2 s: t")
    assert "until" not in line
    assert fake.started == []


@every_flag
def test_the_plan_is_shown_with_what_refuses_it(project: Project, flag: str) -> None:
    plan = project.plan(*project.measuring(), "--llm-aa", f"{flag}=2 s")

    assert plan[-1].startswith(f"  refused: {flag} 2 s: ")


@pytest.mark.usefixtures("optimistic")
def test_a_gate_alone_is_not_judged_by_fewer_sessions(project: Project) -> None:
    project.write(
        """
        @pytest.mark.llm_no_regression("generation_tokens_per_second")
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_gate():
            pass
        """
    )
    for _ in range(5):
        project.measure("--llm-update-baselines=append")

    result = project.measure("--llm-time-limit=50 ms", "-p", "no:cacheprovider")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["generation speed: not judged, --llm-time-limit is 50 ms, and * took *"])


def test_the_plan_tells_the_times_of_its_looks(project: Project) -> None:
    (line,) = (
        each
        for each in project.measure("--llm-aa", "--llm-effort=normal").outlines
        if each.startswith("llm-bench plan")
    )
    assert line.startswith("llm-bench plan: 2 benchmarks on 1 subject, up to ")
    assert " to the last look (" in line
    assert " until a single loss can be called (" in line


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("soon", "'soon' is not a duration"),
        ("5 parsecs", "the unit 'parsecs' is not one of ns, us"),
        ("-1", "'-1' is not a duration: it is negative"),
        ("0", "0 would measure nothing"),
    ],
)
@every_flag
def test_a_bad_time_is_one_line(project: Project, flag: str, written: str, reason: str) -> None:
    line = project.usage_error(f"{flag}={written}")

    assert line.startswith(f"ERROR: {flag}: ")
    assert reason in line


@pytest.mark.parametrize("key", ["llm_time_limit", "llm_budget"])
def test_a_bad_time_in_a_file_is_one_line(project: Project, ini: Ini, key: str) -> None:
    ini.write(**{key: "soon"})

    assert "'soon' is not a duration" in project.usage_error()


def test_the_next_plan_knows_the_speeds_that_were_measured(project: Project, fake: Fake) -> None:
    before = project.plan(*project.measuring())[0]
    fake.set(token_seconds=0.25)
    project.measure().assert_outcomes(passed=2)

    after = project.plan(*project.measuring())[0]

    assert before.endswith("3 sessions, about 2 s")
    # The longer one takes four requests of 32 s a session: a rehearsal, a round and two whole ones.
    assert after.endswith("3 sessions, about 6.7 min")


def test_a_plan_that_old_speeds_refuse_says_how_to_forget_them(project: Project, fake: Fake) -> None:
    fake.set(token_seconds=0.25)
    project.measure().assert_outcomes(passed=2)
    fake.set(token_seconds=1 / 128)

    line = project.usage_error(*project.measuring(), "--llm-time-limit=1 min")

    assert line.endswith("; pytest --cache-clear forgets the speeds of earlier runs")
    project.measure("--llm-time-limit=1 min", "--cache-clear").assert_outcomes(passed=2)


@pytest.mark.usefixtures("optimistic")
def test_a_run_that_was_cut_short_is_no_baseline(project: Project) -> None:
    result = project.measure("-k", "speed", "--llm-time-limit=50 ms", "--llm-update-baselines=append")

    result.stdout.fnmatch_lines(["*has fewer sessions than planned: --llm-time-limit is 50 ms*"])
    assert list((project.path / "baselines").glob("**/*.json")) == []
