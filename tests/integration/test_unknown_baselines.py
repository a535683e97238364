"""The end of a whole run names baselines whose test no longer exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.baselines import BaselineStore, Conditions, RecordedInvariants, RecordedRuns, Series
from pytest_llm.machine import fingerprint as machine
from pytest_llm.records import Provenance, StoredRun, TestKey

if TYPE_CHECKING:
    from tests.integration.conftest import Project

# Skipped, so that nothing needs to be measured: what is collected counts.
BENCHMARKS = """
    @pytest.mark.skip
    def test_chat(llm_bench): pass

    @pytest.mark.skip
    def test_other(llm_bench): pass

    def test_plain(): pass
"""
MODULE = "test_it.py"
CONDITIONS = Conditions("0" * 64, "llama-cpp-python", {}, {})
RUNS = RecordedRuns(CONDITIONS, {"load_time": Series("s", (StoredRun(0.5, Provenance()),))})
OLD = "there are baselines of 1 test that no longer exists: test_it.py::test_old; "
END = "list and remove them with pytest-llm baselines prune, or move them with pytest-llm baselines move"


def store(project: Project, *names: str, fingerprint: str = "", module: str = MODULE) -> BaselineStore:
    found = BaselineStore(project.path / "baselines", fingerprint or machine.fingerprint(), machine.parts())
    keys = [TestKey(module, *name.rstrip("]").split("[")) for name in names]
    found.update([(key, RUNS) for key in keys], "append")
    return found


@pytest.fixture(autouse=True)
def _benchmarks(project: Project) -> None:
    project.write("[pytest]\n", "pytest.ini")
    project.write(BENCHMARKS)
    store(project, "test_chat", "test_old")


def told(project: Project, *arguments: object) -> list[str]:
    return [line for line in project.run("--llm-bench", *arguments).outlines if "no longer exist" in line]


def test_a_whole_run_tells_them(project: Project) -> None:
    assert told(project) == [OLD + END]


def test_a_run_that_measured_tells_them_after_the_table(project: Project) -> None:
    project.write("@pytest.mark.llm_load_time(max=1)\ndef test_measured(): pass\n", "test_more.py")
    lines = project.measure().outlines
    (row,) = (index for index, line in enumerate(lines) if line.startswith("test_more.py::test_measured"))
    assert lines.index(OLD + END) > row


def test_facts_count_as_well(project: Project) -> None:
    key = TestKey(MODULE, "test_older", "x")
    store(project).update_invariants([(key, RecordedInvariants(CONDITIONS, {"a": 1}, Provenance()))], "new")
    assert told(project) == [
        "there are baselines of 2 tests that no longer exist: test_it.py::test_old, "
        f"test_it.py::test_older[x]; {END}"
    ]


def test_many_are_told_by_their_number(project: Project) -> None:
    store(project, *(f"test_gone_{n}" for n in range(9)))
    (line,) = told(project)
    assert line.startswith("there are baselines of 10 tests")
    assert line.endswith(f"test_it.py::test_gone_4, 5 more; {END}")


def test_other_machines_are_not_this_run_s_business(project: Project) -> None:
    (project.path / "baselines" / "machines").rename(project.path / "away")
    store(project, "test_chat")
    store(project, "test_old", fingerprint="another")
    assert told(project) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("-k", "chat"),
        ("-m", "not llm_bench"),
        ("--deselect", "test_it.py::test_chat"),
        ("test_it.py::test_chat",),
        ("test_it.py",),
        ("--ignore=test_more.py",),
        ("--ignore-glob=*more*",),
    ],
    ids=" ".join,
)
def test_a_part_of_the_tests_tells_nothing(project: Project, arguments: tuple[str, ...]) -> None:
    project.write("def test_more(llm_bench): pass\n", "sub/test_more.py")
    assert told(project, *arguments) == []


def test_last_failed_tells_nothing(project: Project) -> None:
    project.write("def test_wrong(): assert False\n", "test_more.py")
    assert told(project) == [OLD + END]
    assert told(project, "--lf") == []


def test_a_folder_below_tells_nothing_and_the_whole_of_it_by_name_does(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("def test_more(): pass\n", "sub/test_more.py")
    assert told(project, ".") == [OLD + END]
    assert told(project, project.path) == [OLD + END]
    monkeypatch.chdir(project.path / "sub")
    assert told(project) == []


@pytest.mark.parametrize("arguments", [(), ("tests",), (".",)])
def test_testpaths_are_the_whole(project: Project, arguments: tuple[str, ...]) -> None:
    (project.path / "test_it.py").unlink()
    store(project, "test_chat", "test_old", module="tests/test_it.py")
    (path,) = project.path.glob("baselines/machines/*/test_it.py.json")
    path.unlink()
    project.write("[pytest]\ntestpaths = tests\n", "pytest.ini")
    project.write(BENCHMARKS, "tests/test_it.py")
    project.write("def test_more(): pass\n", "tests/sub/test_more.py")
    assert told(project, *arguments) == [OLD.replace("test_it", "tests/test_it") + END]
    assert told(project, "tests/sub") == []


def test_leaving_out_what_is_no_benchmark_changes_nothing(project: Project) -> None:
    assert told(project, "--llm-bench-only") == [OLD + END]
    assert told(project, "-m", "llm_bench") == [OLD + END]


def test_a_module_that_cannot_be_collected_tells_nothing(project: Project) -> None:
    project.write("1 / 0\n", "test_broken.py")
    assert told(project, "--continue-on-collection-errors") == []
    assert told(project) == []


def test_a_module_that_skips_itself_is_spared(project: Project) -> None:
    store(project, "test_in_there", module="test_away.py")
    project.write("pytest.skip('not here', allow_module_level=True)\n", "test_away.py")
    assert told(project) == [OLD + END]


def test_parameters_of_models_that_the_options_name_are_spared(project: Project) -> None:
    store(project, "test_chat[model-a]")
    assert told(project) == [OLD + END]
    assert told(project, f"--llm-model={project.model}", "--llm-model=smollm2-135m") == [OLD + END]


def test_a_damaged_file_is_told_and_the_run_goes_on(project: Project) -> None:
    store(project, "test_x", module="test_gone")
    (path,) = project.path.glob("baselines/machines/*/test_gone.json")
    path.write_text("{", encoding="utf-8")
    result = project.run("--llm-bench")
    result.stdout.fnmatch_lines(
        ["baselines of tests that no longer exist cannot be listed: *test_gone.json is*"]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_without_llm_bench_nothing_is_told(project: Project) -> None:
    result = project.run("--llm-effort=quick")
    result.stdout.no_fnmatch_line("*no longer exist*")
