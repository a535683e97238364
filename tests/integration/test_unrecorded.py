"""A gate without a baseline in a module with some fails, and the one that is likely its own is named."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main
from pytest_llm.reports.recheck import differences
from pytest_llm.reports.results_file import DOCUMENT

if TYPE_CHECKING:
    from tests.integration.conftest import Project

GATED = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens={tokens})
    @pytest.mark.llm_no_regression()
    def {name}(llm_bench): pass
"""
NEVER = "prompt speed: unrecorded, this test was never recorded on this machine"


@pytest.fixture(autouse=True)
def _recorded(project: Project) -> None:
    project.write("[pytest]\n", "pytest.ini")
    write(project, "test_speed")
    record(project)


def write(project: Project, *names: str, file: str = "test_it.py") -> None:
    tests = (GATED.format(name=name, tokens=2 + index) for index, name in enumerate(names))
    project.write("".join(tests), file)


def record(project: Project, *arguments: object) -> None:
    assert project.measure("--llm-update-baselines=append", *arguments).ret == 0


def verdicts(project: Project, *arguments: object) -> dict[str, str]:
    """Return the verdict on the first gate of each test; the results file must rest on itself."""
    results = project.results(*arguments)
    assert differences(DOCUMENT.decode(results)) == []
    return {
        test["key"]["name"]: test["metrics"]["prompt_tokens_per_second"]["baseline"]["verdict"]
        for test in results["tests"]
    }


def moves(text: str) -> list[list[str]]:
    """Return the words of each command that a text offers."""
    lines = [line.partition("pytest-llm ")[2] for line in text.splitlines() if "baselines move" in line]
    return [shlex.split(line) for line in lines]


def test_a_test_that_was_never_recorded_fails_in_a_module_with_baselines(project: Project) -> None:
    write(project, "test_speed", "test_new")

    result = project.measure()

    result.assert_outcomes(passed=1, failed=1)
    text = project.texts(result)["test_new"]
    assert text.splitlines()[0] == f"{NEVER}: record it with --llm-update-baselines=append"
    assert verdicts(project) == {"test_speed": "inconclusive", "test_new": "unrecorded"}


def test_it_is_recorded_as_any_other(project: Project) -> None:
    write(project, "test_speed", "test_new")
    record(project)
    assert verdicts(project) == {"test_speed": "inconclusive", "test_new": "inconclusive"}


def test_its_results_are_accepted_although_it_failed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, "test_speed", "test_new")
    project.measure("--llm-json=results.json").assert_outcomes(passed=1, failed=1)
    monkeypatch.chdir(project.path)

    assert main(["baselines", "accept", "--test=test_new", "results.json"]) == 0

    project.measure().assert_outcomes(passed=2)


def test_a_module_without_baselines_has_none(project: Project) -> None:
    write(project, "test_new", file="test_other.py")
    result = project.measure("test_other.py")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*no baseline, * has none of test_other.py for this machine*"])
    result.stdout.no_fnmatch_line("*baselines move*")


def test_a_metric_that_was_never_recorded_fails_as_well(project: Project) -> None:
    (path,) = project.path.glob("baselines/machines/*/test_it.py.json")
    write(project, "test_speed")
    source = (project.path / "test_it.py").read_text()
    project.write(
        source.replace("import pytest\n", "").replace("regression()", 'regression("inter_token_latency_p37")')
    )
    (text,) = project.failures().values()
    assert "unrecorded, recorded without inter_token_latency_p37: record it" in text
    assert path.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("selected", [(), ("test_it.py",), ("test_it.py::test_renamed",), ("-k", "renamed")])
def test_a_renamed_test_names_the_command_that_moves_its_baselines(
    project: Project, monkeypatch: pytest.MonkeyPatch, selected: tuple[str, ...]
) -> None:
    write(project, "test_renamed")
    (text,) = project.failures(*selected).values()
    (words, *_) = moves(text)
    assert words == ["baselines", "move", "test_it.py::test_speed", "test_it.py::test_renamed"]

    monkeypatch.chdir(project.path)
    assert main(words) == 0

    assert verdicts(project) == {"test_renamed": "inconclusive"}


def test_a_moved_file_is_no_baseline_and_names_the_command(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "bench").mkdir()
    (project.path / "test_it.py").rename(project.path / "bench" / "test_it.py")
    result = project.measure()
    result.assert_outcomes(passed=1)
    (words, *_) = moves(result.stdout.str())
    assert words == ["baselines", "move", "test_it.py::test_speed", "bench/test_it.py::test_speed"]

    monkeypatch.chdir(project.path)
    assert main(words) == 0

    assert verdicts(project) == {"test_speed": "inconclusive"}


def test_other_ids_of_parameters_name_the_command(project: Project) -> None:
    project.write(
        """
        @pytest.mark.parametrize("way", ["a b"])
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_no_regression()
        def test_speed(llm_bench, way): pass
        """
    )
    (text,) = project.failures().values()
    assert moves(text)[0][2:] == ["test_it.py::test_speed", "test_it.py::test_speed[a b]"]


@pytest.mark.parametrize("selected", [(), ("test_it.py::test_new",), ("-k", "new")])
def test_baselines_of_a_test_that_exists_are_offered_to_nobody(
    project: Project, selected: tuple[str, ...]
) -> None:
    write(project, "test_new", "test_speed")
    text = project.failures(*selected)["test_new"]
    assert "baselines move" not in text


def test_baselines_under_other_conditions_are_offered_to_nobody(project: Project) -> None:
    write(project, "test_it", "test_renamed")  # neither has its workload
    source = (project.path / "test_it.py").read_text().replace("prompt_tokens=4", "prompt_tokens=5")
    (project.path / "test_it.py").write_text(source)
    assert all("baselines move" not in text for text in project.failures().values())


def test_the_command_names_the_folder_that_the_run_was_given(project: Project) -> None:
    record(project, "--llm-baselines=kept it")
    write(project, "test_renamed")
    (text,) = project.failures("--llm-baselines=kept it").values()
    assert moves(text)[0][-2:] == ["--baselines", str(project.path / "kept it")]


def test_an_output_that_was_never_recorded_fails_where_others_were(project: Project) -> None:
    source = """
        @pytest.mark.llm_model(n_ctx=512)
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_output("Three herons stood in the shallow water.")
        def {}(llm_bench): pass
    """
    cache = f"--llm-cache={project.path / 'cache'}"
    project.write(source.format("test_said"))
    record(project, cache)
    project.write(source.format("test_says"))

    for more in ((), ("--llm-json=results.json",)):
        (text,) = project.failures(cache, *more).values()
        assert text.startswith("output: unrecorded: the output of this test was never recorded")
        assert moves(text)[0][2:] == ["test_it.py::test_said", "test_it.py::test_says"]
    results = json.loads((project.path / "results.json").read_text())
    assert differences(DOCUMENT.decode(results)) == []
    project.write(source.format("test_says"), "test_other.py")
    project.measure(cache, "test_other.py").assert_outcomes(passed=1)
