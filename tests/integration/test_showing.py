"""Options of pytest with which no test runs: nothing is measured, written or judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Ini, Project

SLOW = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=1000)
    def test_slow(llm_bench): pass
"""
WRITING = ("--llm-json=results.json", "--llm-update-baselines=append")


SHOWING = ["--collect-only", "--fixtures", "--fixtures-per-test", "--cache-show"]
both = pytest.mark.parametrize("source", [SLOW, "def test_ordinary(): pass"], ids=["a benchmark", "none"])


@pytest.mark.parametrize("flag", SHOWING)
@both
def test_nothing_is_measured_or_written_and_the_header_says_so(
    project: Project, fake: Fake, flag: str, source: str
) -> None:
    project.write(source)

    result = project.measure(flag, *WRITING)

    assert result.ret == pytest.ExitCode.OK
    assert f"llm-bench: {flag} measures nothing, so nothing was judged" in result.outlines
    result.stdout.no_fnmatch_line("nothing was measured*")
    assert fake.started == []
    assert not (project.path / "results.json").exists()
    assert not (project.path / "baselines").exists()


@pytest.mark.parametrize("flag", ["--setup-plan", "--setup-only"])
@both
def test_tests_that_are_only_set_up_are_a_run_that_measures_nothing(
    project: Project, fake: Fake, flag: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(source)
    line = f"nothing was measured: {flag} sets tests up and runs none (--llm-none-measured *"

    shown = project.measure(flag, *WRITING)

    assert shown.ret == pytest.ExitCode.TESTS_FAILED
    assert f"llm-bench: {flag} measures nothing, so nothing was judged" in shown.outlines
    shown.stdout.fnmatch_lines([line])
    monkeypatch.setenv("PYTEST_ADDOPTS", flag)
    assert project.measure(*WRITING).ret == pytest.ExitCode.TESTS_FAILED
    assert project.measure(*WRITING, "--llm-none-measured=warn").ret == pytest.ExitCode.OK
    assert fake.started == []
    assert not (project.path / "results.json").exists()
    assert not (project.path / "baselines").exists()


@pytest.mark.parametrize(
    "flag", [*SHOWING, "--collectonly", "--co", "--funcargs", "--markers", "--cache-show=*"]
)
def test_what_shows_something_instead_is_refused_unless_the_command_line_says_so(
    project: Project, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(SLOW)
    refusal = "--llm-bench measures nothing with --"

    monkeypatch.setenv("PYTEST_ADDOPTS", flag)
    assert refusal in project.usage_error(*project.measuring())
    assert project.measure(flag).ret == pytest.ExitCode.OK
    assert project.run().ret == pytest.ExitCode.OK  # without --llm-bench it is nobody's business


@pytest.mark.parametrize("flag", ["--help", "-h", "--version", "-VV"])
def test_help_in_place_of_a_run_is_refused_as_well(
    project: Project, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", flag)

    assert "take it out of PYTEST_ADDOPTS, or of addopts" in project.usage_error(*project.measuring())


def test_what_shows_something_instead_is_refused_in_the_ini_file(project: Project, ini: Ini) -> None:
    project.write(SLOW)
    ini.write(addopts=["--co"])

    assert "--llm-bench measures nothing with --collect-only" in project.usage_error(*project.measuring())
    assert project.measure("-q", "--co").ret == pytest.ExitCode.OK


def test_an_option_from_a_file_that_the_command_line_names_is_on_the_command_line(project: Project) -> None:
    project.write(SLOW)
    project.write("--co\n", "arguments.txt")

    assert project.measure("@arguments.txt").ret == pytest.ExitCode.OK


@pytest.mark.parametrize("flag", ["--markers", "--help", "--version"])
def test_what_has_no_header_ends_as_ever(
    project: Project, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_LLM_CACHE")
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--llm-effort=none")

    assert project.measure(flag).ret == pytest.ExitCode.OK


def test_a_run_that_shows_fixtures_while_it_measures_judges(project: Project) -> None:
    project.write(SLOW)

    result = project.measure("--setup-show")

    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*nothing was judged*")


def test_without_our_flag_nothing_is_said(project: Project) -> None:
    project.write(SLOW)

    project.run("--setup-plan").stdout.no_fnmatch_line("llm-bench:*")


def test_a_command_of_another_plugin_that_runs_no_test_ends_as_it_says(project: Project) -> None:
    project.write(
        """
        def pytest_addoption(parser):
            parser.addoption("--list-owners", action="store_true")

        def pytest_cmdline_main(config):
            if config.option.list_owners:
                from _pytest.main import wrap_session
                return wrap_session(config, lambda config, session: session.perform_collect() and 0)
        """,
        "conftest.py",
    )
    project.write(SLOW)

    result = project.measure("--list-owners", *WRITING)

    assert result.ret == pytest.ExitCode.OK
    assert not (project.path / "results.json").exists()


def test_setup_only_sets_up_the_other_fixtures_of_a_benchmark(project: Project, fake: Fake) -> None:
    project.write(
        """
        @pytest.fixture
        def other(): pass

        def test_one(other, llm_bench): pass
        """
    )

    result = project.measure("--setup-only", "-rs", "--llm-none-measured=warn")

    result.stdout.fnmatch_lines(["*SETUP    F other*", "*--setup-only measures nothing"])
    assert fake.started == []
