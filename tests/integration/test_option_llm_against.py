"""``--llm-against`` names the reference; what comparing is like is in ``test_comparing``."""

from __future__ import annotations

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
def _benchmark(project: Project) -> None:
    project.write(BENCHMARK)


def _plan(project: Project, *arguments: str) -> str:
    model = f"--llm-model={project.model}"
    return "\n".join(project.plan(model, f"--llm-candidate={project.candidate}", *arguments))


def test_compares_with_nothing_by_default(project: Project) -> None:
    assert " against " not in _plan(project)


def test_works_on_the_command_line(project: Project, reference: str) -> None:
    assert f" on {project.candidate} against {reference}, " in _plan(project, f"--llm-against={reference}")


def test_a_relative_path_in_a_file_starts_from_the_file(
    project: Project, ini: Ini, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "builds" / "old").mkdir(parents=True)
    ini.write(llm_against="fake@venv:builds/old")
    monkeypatch.chdir(project.path / "builds")

    assert f" against fake@venv:{project.path / 'builds' / 'old'}, " in _plan(project, "..")


def test_both_builds_run_in_every_session(
    worker: Project, reference_environment: str, stand_in: StandIn
) -> None:
    stand_in.set_reference(marker="here")

    # The marker is a variable of one side alone.
    result = worker.measure(f"--llm-against={reference_environment}", "--llm-drift=warn")
    result.assert_outcomes(passed=1)

    # Each is looked at once, then in six sessions.
    started = ["LLAMA_STAND_IN_MARKER" in each["environment"] for each in stand_in.processes()]
    assert (started.count(True), started.count(False)) == (7, 7)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        ("llama-cpp-pyhton", "unknown engine 'llama-cpp-pyhton': did you mean llama-cpp-python?"),
        ("llama-cpp-python@venv:nowhere", "there is no folder"),
    ],
)
def test_a_bad_build_is_one_line(project: Project, build: str, reason: str) -> None:
    assert reason in project.usage_error("--llm-bench", f"--llm-against={build}")


def test_a_bad_build_in_a_file_is_one_line(project: Project, ini: Ini) -> None:
    ini.write(llm_against="llama-cpp-pyhton")

    assert "did you mean llama-cpp-python?" in project.usage_error()


@pytest.mark.parametrize("option", ["--llm-against=fake", "--llm-aa"])
def test_a_pair_is_no_baseline(project: Project, option: str) -> None:
    told = project.usage_error(*project.measuring(), option, "--llm-update-baselines=new")

    assert "stores runs of one build alone: leave --llm-against and --llm-aa out" in told


@pytest.mark.parametrize(
    "option", ["--llm-against=fake@1.0", "--llm-aa", "--llm-anchor=fake@1.0", "--llm-json=r.json"]
)
def test_without_the_flag_it_is_refused_as_it_would_do_nothing(project: Project, option: str) -> None:
    project.write("def test_it(llm_bench): pass")
    result = project.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option.partition('=')[0]} needs --llm-bench: *"])


def test_without_the_flag_an_ini_key_is_ignored(project: Project) -> None:
    project.pytester.makeini("[pytest]\nllm_against = llama-cpp-python@0.3.16\nllm_json = r.json\n")
    project.write("def test_it(llm_bench): pass")
    project.run().assert_outcomes(skipped=1)
