"""Builds that are made when a test first needs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_llm.builds.provider import build_store
from pytest_llm.builds.reference import parse_build

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Releases
    from tests.integration.conftest import Project, StandIn

pytestmark = pytest.mark.slow
BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""
ONE_BUILD = "building llama-cpp-python@9.0.1: usually takes minutes"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, releases: Releases) -> None:
    monkeypatch.setenv("PYTEST_LLM_CACHE", str(tmp_path / "cache"))


def test_a_release_is_a_reference(project: Project, releases: Releases) -> None:
    project.write(BENCHMARK)

    result = project.measure("--llm-against=9.0.1", "--llm-json=results.json")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"  {ONE_BUILD}"])
    results = json.loads((project.path / "results.json").read_text(encoding="utf-8"))
    assert results["reference"]["version"] == "9.0.1"
    assert results["candidate"]["version"] == "0.0.1"
    assert releases.compiled() == ["9.0.1 "]


def test_it_is_made_once_for_all_runs(project: Project, releases: Releases) -> None:
    project.write(BENCHMARK)
    project.measure("--llm-against=9.0.1").assert_outcomes(passed=1)

    again = project.measure("--llm-against=llama-cpp-python@9.0.1")

    again.assert_outcomes(passed=1)
    again.stdout.no_fnmatch_line("*building*")
    assert len(releases.compiled()) == 1


def test_two_compilations_of_a_release_are_compared(project: Project) -> None:
    project.write(BENCHMARK)

    results = project.results("--llm-candidate=9.0.1[-DGGML_AVX2=OFF]", "--llm-against=9.0.1")

    said = [results[each]["compiled_with"] for each in ("candidate", "reference")]
    assert said == ["CPU : BUILT = -DGGML_AVX2=OFF", "CPU : BUILT ="]
    settings = [run["subject"]["build"]["settings"] for run in results["runs"].values()]
    assert sorted(settings) == [[], ["-DGGML_AVX2=OFF"]]


def test_a_functional_test_has_its_build_made(project: Project, releases: Releases) -> None:
    project.write("""
        @pytest.mark.llm_model()
        def test_answers(gguf_model):
            assert gguf_model.generate("a", max_tokens=2).text
    """)

    result = project.run(f"--llm-model={project.model}", "--llm-candidate=9.0.1")

    result.assert_outcomes(passed=1)
    assert releases.compiled() == ["9.0.1 "]


def test_what_cannot_be_made_fails_each_test_and_is_tried_once(project: Project, releases: Releases) -> None:
    project.write("""
        @pytest.mark.llm_model(n_ctx=[512, 1024])
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_speed():
            pass
    """)

    failures = project.failures("--llm-candidate=9.0.3")

    assert len(failures) == 2
    for text in failures.values():
        assert "llama-cpp-python@9.0.3 could not be made in " in text
        assert "  |          llama.cpp:42:7: error: expected ';' before '}' token" in text
    assert len(releases.compiled()) == 1


def test_a_run_lets_go_of_its_builds(project: Project, tmp_path: Path) -> None:
    project.write(BENCHMARK)
    project.measure("--llm-candidate=9.0.1").assert_outcomes(passed=1)
    store = build_store(tmp_path / "cache")

    for each in store.kept():
        store.remove(each)

    assert store.kept() == []


def test_a_plan_makes_nothing(project: Project, releases: Releases) -> None:
    project.write(BENCHMARK)

    plan = project.plan(f"--llm-model={project.model}", "--llm-candidate=9.0.1", "--llm-against=9.0.2[-DA=1]")

    assert " on llama-cpp-python@9.0.1 against llama-cpp-python@9.0.2[-DA=1], " in "\n".join(plan)
    assert releases.compiled() == []


@pytest.mark.parametrize("option", ["--llm-candidate", "--llm-against"])
def test_a_bad_release_is_one_line(project: Project, option: str) -> None:
    assert "'9.x' is no version of a release" in project.usage_error("--llm-bench", f"{option}=9.x")


def test_a_worker_of_a_release_runs_in_its_own_environment(
    project: Project, stand_in: StandIn, tmp_path: Path
) -> None:
    project.write(BENCHMARK)
    project.measure("--llm-candidate=9.0.1").assert_outcomes(passed=1)

    made = build_store(tmp_path / "cache").make(parse_build("9.0.1", tmp_path), print)
    assert made.description.where.startswith(str(tmp_path / "cache" / "builds"))
    assert len(stand_in.processes()) >= 4  # the first run of the build, and three sessions
