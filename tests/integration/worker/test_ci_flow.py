"""From a runner to a desk: the very steps of ``.github/flow``, which the workflows call."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import REPOSITORY

if TYPE_CHECKING:
    from tests.integration.conftest import Project, StandIn

pytestmark = pytest.mark.slow
FLOW = REPOSITORY / ".github" / "flow"
BENCHMARK = """
    import pytest

    @pytest.mark.llm_no_regression("generation_tokens_per_second")
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=9)
    def test_speed():
        pass
"""
# Its clock is no machine's, and a busy machine has no baseline.
CONFTEST = """
from pytest_llm.machine import control

control.measure_control = lambda threads: None
"""
NAME = "test_it.py::test_speed"


class Place:
    """A checkout on a runner, where CI is set, or on a desk."""

    def __init__(self, folder: Path, ci: bool) -> None:
        self.folder = folder
        self._ci = ci

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        programs = Path(sys.executable).parent
        kept = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        identity = {
            f"GIT_{who}_{what}": "someone@example.com" if what == "EMAIL" else "Someone"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        return subprocess.run(
            [str(each) for each in command],
            cwd=self.folder,
            env={
                **kept,
                **identity,
                **({"CI": "true"} if self._ci else {}),
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )

    def flow(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(FLOW, *words)

    def git(self, *words: str) -> str:
        done = self.run("git", *words)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def desk(project: Project) -> Place:
    """A project under version control that measures the stand-in."""
    folder = project.path / "desk"
    options = {"llm_candidate": project.candidate, "llm_model": project.model, "llm_effort": "quick"}
    lines = [
        "[pytest]",
        "addopts = -p no:cacheprovider",
        *(f"{name} = {value}" for name, value in options.items()),
    ]
    project.write("\n".join(lines) + "\n", "desk/pytest.ini")
    (folder / "test_it.py").write_text(BENCHMARK.replace("\n    ", "\n"), encoding="utf-8")
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / ".gitignore").write_text(
        "__pycache__/\n*.json\n!baselines/**/*.json\n.lock\n", encoding="utf-8"
    )
    place = Place(folder, ci=False)
    place.git("init", "--quiet")
    place.git("add", ".")
    place.git("commit", "--quiet", "--message=Begin")
    return place


def measured_on_a_runner(desk: Place, name: str) -> subprocess.CompletedProcess[str]:
    """Measure in a fresh checkout, which stays as it was; the results end on the desk."""
    runner = Place(desk.folder.parent / f"runner-{name}", ci=True)
    desk.git("clone", "--quiet", ".", str(runner.folder))
    done = runner.flow("measure", "results.json")
    assert runner.git("status", "--porcelain") == ""
    refused = runner.flow("accept", "results.json")
    assert (refused.returncode, "CI never writes a baseline" in refused.stdout) == (2, True)
    assert runner.git("status", "--porcelain") == ""
    shutil.copy(runner.folder / "results.json", desk.folder / f"{name}.json")
    return done


def test_runs_of_a_runner_become_baselines_on_a_desk_and_a_slower_build_is_told_by_both(
    desk: Place, stand_in: StandIn
) -> None:
    for number, share in enumerate((1.0, 1.01, 0.99, 1.005, 0.995)):
        stand_in.set(token_seconds=share / 128)
        measured = measured_on_a_runner(desk, f"run-{number}")
        assert measured.returncode == 0, measured.stdout

        review = desk.flow("review", f"run-{number}.json")
        assert review.returncode == 0, review.stdout
        assert (f"{NAME}: new: " in review.stdout) == (number == 0)

        accepted = desk.flow("accept", f"run-{number}.json")
        assert accepted.returncode == 0, accepted.stdout
        assert "test_it.py.json" in accepted.stdout.split("\n", 1)[1]  # in what git says
        assert desk.git("status", "--porcelain") != ""
        desk.git("commit", "--quiet", "--all", f"--message=Accept run {number}")

    stand_in.set(token_seconds=1.5 / 128)
    slower = measured_on_a_runner(desk, "slower")
    assert slower.returncode == 1
    assert "generation speed fell from 128.0 tok/s to 85.33 tok/s" in slower.stdout

    review = desk.flow("review", "slower.json")
    assert review.returncode == 1
    assert "gated metrics: 1 regressed" in review.stdout

    accepted = desk.flow("accept", "slower.json")
    assert accepted.returncode == 0
    assert '"verdict": "regressed"' in desk.git("diff")


def test_the_build_before_a_release_is_what_the_last_tag_pins(desk: Place) -> None:
    (desk.folder / "pyproject.toml").write_text('[project]\ndependencies = ["llama-cpp-python==9.0.1"]\n')
    desk.git("add", "pyproject.toml")
    desk.git("commit", "--quiet", "--message=Pin")
    programs = desk.folder.parent / "programs"
    programs.mkdir()
    (programs / "pytest").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    (programs / "pytest").chmod(0o755)
    release = f"PATH={programs}:$PATH {FLOW} release last out.json"
    assert "--llm-against=9.0.1\n" in desk.run("bash", "-c", release).stdout  # no tag yet
    desk.git("tag", "v1.0")
    (desk.folder / "pyproject.toml").write_text('[project]\ndependencies = ["llama-cpp-python==9.0.2"]\n')
    desk.git("commit", "--quiet", "--all", "--message=Raise it")
    desk.git("tag", "v1.1")
    assert "--llm-against=9.0.1\n" in desk.run("bash", "-c", release).stdout


def test_a_release_fails_on_doubt_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pytest"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    done = subprocess.run(
        [str(FLOW), "release", "0.3.35", "out.json", "--llm-budget=1 h"],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.splitlines() == [
        "--llm-bench",
        "--llm-against=0.3.35",
        "--llm-inconclusive=fail",
        "--llm-uncovered=fail",
        "--llm-drift=fail",
        "--llm-missing-baseline=fail",
        "--llm-none-measured=fail",
        "--llm-json=out.json",
        "--llm-budget=1 h",
    ]


def test_the_workflow_measures_by_the_same_steps() -> None:
    workflow = (FLOW.parent / "workflows" / "regression.yml").read_text(encoding="utf-8")
    assert "uv run --no-sync .github/flow measure results.json" in workflow
    assert "path: results.json" in workflow
