"""What ``pytest-llm baselines prune`` calls a test that is not there, and when it removes nothing."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from .things import FINGERPRINT, Test, results_of

if TYPE_CHECKING:
    from .things import Command

MODULE = "test_speed.py"


@pytest.fixture(autouse=True)
def _plain_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


@pytest.fixture
def project(baselines: Command) -> Command:
    """A project with `test_chat`, and baselines of it and of `test_old`."""
    write(baselines, "def test_chat(llm_bench): pass")
    (baselines.folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    store(baselines, "test_chat", "test_old")
    return baselines


def write(project: Command, source: str, name: str = MODULE) -> None:
    path = project.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("import pytest\n" + textwrap.dedent(source) + "\n", encoding="utf-8")


def ini(project: Command, *lines: str) -> None:
    (project.folder / "pytest.ini").write_text("\n".join(["[pytest]", *lines, ""]), encoding="utf-8")


def store(project: Command, *names: str, module: str = MODULE, fingerprint: str = FINGERPRINT) -> None:
    document = results_of(*(Test(name) for name in names), fingerprint=fingerprint)
    for test in document["tests"]:
        test["key"]["module"] = module
    assert project("accept", project.file(document, "stored.json"))[0] == 0


def unknown(project: Command) -> list[str]:
    status, document = project.json("prune")
    assert status == bool(document["tests"])
    assert document["removed"] is False
    return [f"{test['key']['name']}[{test['key']['parameters']}]" for test in document["tests"]]


@pytest.mark.slow
def test_without_yes_it_only_lists(project: Command) -> None:
    before = project.files()
    status, out = project("prune")
    assert (status, out.splitlines()) == (
        1,
        [
            "baselines of 1 test that no longer exists",
            f"  {MODULE}::test_old: machine {FINGERPRINT}, invariants",
            "remove them with --yes",
        ],
    )
    assert project.files() == before


@pytest.mark.slow
def test_with_yes_it_removes_runs_of_all_machines_and_facts(project: Command) -> None:
    store(project, "test_old", "test_chat", fingerprint="another")
    status, out = project("prune", "--yes")
    assert (status, out.splitlines()) == (
        0,
        [
            "removed the baselines of 1 test",
            f"  {MODULE}::test_old: machine {FINGERPRINT}, machine another, invariants",
        ],
    )
    assert project("show", "test_old")[0] == 1
    assert len(project.json("show", "test_chat")[1]["machines"]) == 2
    assert project("prune", "--yes") == (0, "every test with baselines exists\n")


@pytest.mark.slow
def test_a_machine_can_be_named(project: Command) -> None:
    store(project, "test_old", fingerprint="another")
    assert project("prune", "--yes", "--machine", "another")[0] == 0
    assert [each["fingerprint"] for each in project.json("show", "test_old")[1]["machines"]] == [FINGERPRINT]
    assert project.refused("prune", "--machine", "zzz").startswith("unknown machine 'zzz'")


@pytest.mark.slow
def test_facts_without_runs_go_too(project: Command) -> None:
    for path in project.baselines.glob("machines/*/*.json"):
        path.unlink()
    assert project("prune", "--yes")[0] == 0
    assert [each["key"]["name"] for each in project.json("show")[1]["invariants"]] == ["test_chat"]


@pytest.mark.slow
def test_it_may_be_started_below_the_project(project: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, "def test_inner(): pass", "deep/test_inner.py")
    monkeypatch.chdir(project.folder / "deep")
    assert unknown(project) == ["test_old[]"]


@pytest.mark.slow
def test_tests_that_options_deselect_are_there(project: Command) -> None:
    ini(project, "addopts = -k nothing --deselect test_speed.py::test_chat", "markers = x")
    assert unknown(project) == ["test_old[]"]


@pytest.mark.slow
def test_skipped_and_bad_benchmarks_are_there(project: Command) -> None:
    write(
        project,
        """
        @pytest.mark.skip
        def test_chat(llm_bench): pass
        @pytest.mark.llm_workload(tokens=3)
        def test_old(llm_bench): pass
        """,
    )
    assert unknown(project) == []


@pytest.mark.slow
def test_parameters_of_a_benchmark_with_bad_markers_are_spared(project: Command) -> None:
    store(project, "test_chat[n_ctx=512]")
    write(
        project,
        """
        @pytest.mark.llm_model("m.gguf", n_ctx=[512, 1024])
        @pytest.mark.llm_workload(tokens=3)
        def test_chat(llm_bench): pass
        """,
    )
    assert unknown(project) == ["test_old[]"]


@pytest.mark.slow
def test_a_test_that_is_no_benchmark_any_more_has_no_baselines(project: Command) -> None:
    write(project, "def test_chat(llm_bench): pass\ndef test_old(): pass")
    assert unknown(project) == ["test_old[]"]


@pytest.mark.slow
def test_parameters_are_part_of_a_test(project: Command) -> None:
    write(
        project,
        """
        @pytest.mark.llm_model("m.gguf", n_ctx=[512, 1024])
        def test_chat(llm_bench): pass
        """,
    )
    store(project, "test_chat[n_ctx=512]", "test_chat[n_ctx=2048]")
    assert unknown(project) == ["test_chat[]", "test_chat[n_ctx=2048]", "test_old[]"]


@pytest.mark.slow
def test_parameters_that_other_options_would_make_are_spared(project: Command) -> None:
    store(project, "test_chat[model-a]", "test_chat[model-b]")
    assert unknown(project) == ["test_old[]"]


@pytest.mark.slow
def test_tests_of_a_module_that_skips_itself_are_spared(project: Command) -> None:
    write(project, "pytest.importorskip('no_such_module')", "test_other.py")
    store(project, "test_in_there", module="test_other.py")
    assert unknown(project) == ["test_old[]"]


# ── nothing is removed ───────────────────────────────────────────────────────────────────────────


def kept(project: Command, *words: str) -> str:
    """What a refusal says; nothing has changed."""
    before = project.files()
    line = project.refused("prune", "--yes", *words)
    assert project.files() == before
    return line


def test_a_module_that_cannot_be_imported_keeps_everything(project: Command) -> None:
    write(project, "import no_such_module", "test_broken.py")
    assert kept(project) == (
        f"nothing is removed: not every test of {project.folder} was collected: test_broken.py cannot be "
        "collected: ModuleNotFoundError: No module named 'no_such_module'"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("addopts", "told"),
    [
        ("--ignore=test_other.py", "--ignore leaves files out"),
        pytest.param("--ignore-glob=*other*", "--ignore-glob leaves files out", marks=pytest.mark.slow),
        pytest.param("--lf", "--last-failed leaves files out", marks=pytest.mark.slow),
        ("test_other.py", "test_other.py is not all of {folder}"),
        ("test_speed.py::test_chat", "test_speed.py::test_chat is not all of {folder}"),
    ],
)
def test_options_that_leave_files_out_keep_everything(project: Command, addopts: str, told: str) -> None:
    write(project, "def test_b(llm_bench): pass", "test_other.py")
    ini(project, f"addopts = {addopts}")
    assert kept(project) == (
        f"nothing is removed: not every test of {project.folder} was collected: "
        f"{told.format(folder=project.folder)}"
    )


def test_options_that_pytest_refuses_keep_everything(project: Command) -> None:
    ini(project, "addopts = --no-such-option")
    line = kept(project)
    assert line.startswith(f"nothing is removed: pytest cannot collect the tests of {project.folder}: ")
    assert "--no-such-option" in line


@pytest.mark.slow
def test_a_project_without_benchmarks_keeps_everything(project: Command) -> None:
    write(project, "def test_chat(): pass")
    assert kept(project) == (
        f"nothing is removed: pytest finds no benchmark in {project.folder}: start it in the project"
    )


@pytest.mark.slow
def test_baselines_of_which_no_test_is_there_stay(project: Command) -> None:
    write(project, "def test_other(llm_bench): pass")
    line = kept(project)
    assert line.startswith("nothing is removed: none of the stored tests exists")
    assert project("prune")[0] == 1


@pytest.mark.slow
def test_ci_removes_nothing_and_may_ask(project: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert kept(project).startswith("prune --yes: CI never writes a baseline")
    assert unknown(project) == ["test_old[]"]


def test_a_damaged_file_keeps_everything(project: Command) -> None:
    (path,) = project.baselines.glob("portable/*.json")
    path.write_bytes(path.read_bytes()[:100])
    assert kept(project).startswith(f"{path} is not JSON")


def test_an_empty_store_needs_no_pytest(baselines: Command) -> None:
    (baselines.folder / "test_broken.py").write_text("1/0", encoding="utf-8")
    assert baselines("prune", "--yes") == (0, f"nothing is stored in {baselines.baselines}\n")
