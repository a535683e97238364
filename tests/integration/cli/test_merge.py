"""``pytest-llm baselines merge``: two branches that both recorded."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .things import FINGERPRINT, MODULE, SPEED, Test, results_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .things import Command

RUNS = f"machines/{FINGERPRINT}/{MODULE}.json"
FACTS = f"portable/{MODULE}.json"


@pytest.fixture
def git(baselines: Command) -> Callable[..., str]:
    """A repository that holds the baselines of one run; run a command of git in it."""

    def run(*words: str, fails: bool = False) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "init.defaultBranch=main")
        done = subprocess.run(
            ["git", *identity, *words], cwd=baselines.folder, capture_output=True, text=True, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout

    run("init", "-q")
    baselines.accept(100.0)
    run("add", "baselines")
    run("commit", "-qm", "base")
    return run


def branches(
    baselines: Command, git: Callable[..., str], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    """Have two branches store results, and merge one into the other; git cannot."""
    git("checkout", "-qb", "theirs")
    store(baselines, theirs)
    git("commit", "-qam", "theirs")
    git("checkout", "-q", "main")
    store(baselines, ours)
    git("commit", "-qam", "ours")
    git("merge", "theirs", fails=True)


def store(baselines: Command, document: dict[str, Any], mode: str = "append") -> None:
    assert baselines("accept", f"--mode={mode}", baselines.file(document))[0] == 0


def speeds(baselines: Command, name: str = "test_chat") -> list[float]:
    _, document = baselines.json("show", f"{MODULE}::{name}")
    return [round(run["value"], 6) for run in document["machines"][0]["tests"][0]["metrics"][SPEED]["runs"]]


@pytest.mark.parametrize("style", ["merge", "diff3", "zdiff3"])
def test_a_conflict_is_named_with_the_command_that_joins_both_sides(
    baselines: Command, git: Callable[..., str], style: str
) -> None:
    git("config", "merge.conflictStyle", style)
    later = Test(speed=102.0), Test(name="test_new", speed=7.0)
    branches(baselines, git, results_of(Test(speed=101.0), hours=5), results_of(*later, hours=4))
    line = baselines.refused("show")
    path = baselines.baselines / RUNS
    assert line == f"{path} has merge conflicts: join both sides with pytest-llm baselines merge {path}"

    for name in git("diff", "--name-only", "--diff-filter=U").split():
        assert baselines("merge", name)[0] == 0

    assert speeds(baselines) == [100.0, 102.0, 101.0]
    assert speeds(baselines, "test_new") == [7.0]


def test_two_versions_are_joined_into_the_first(baselines: Command, tmp_path: Path) -> None:
    baselines.accept(100.0, 101.0)
    theirs = Path(shutil.copy(baselines.baselines / RUNS, tmp_path / "theirs.json"))
    store(baselines, results_of(Test(speed=103.0), hours=3))
    before = theirs.read_bytes()

    status, document = baselines.json("merge", str(baselines.baselines / RUNS), str(theirs))

    assert (status, document["tests"], document["conflicts"]) == (0, 1, [])
    assert speeds(baselines) == [100.0, 101.0, 103.0]
    assert theirs.read_bytes() == before


def test_joining_the_same_twice_changes_nothing(baselines: Command) -> None:
    baselines.accept(100.0, 101.0)
    before = baselines.files()
    for name in (RUNS, FACTS):
        path = str(baselines.baselines / name)
        assert baselines("merge", path, path)[0] == 0
    assert baselines.files() == before


@pytest.mark.parametrize(("prefer", "kept"), [("ours", [101.0]), ("theirs", [100.0, 102.0])])
def test_a_side_that_replaced_the_runs_is_a_conflict_that_the_user_decides(
    baselines: Command, tmp_path: Path, prefer: str, kept: list[float]
) -> None:
    baselines.accept(100.0, 102.0)
    theirs = shutil.copy(baselines.baselines / RUNS, tmp_path / "theirs.json")
    store(baselines, results_of(Test(speed=101.0), hours=9), "replace")
    ours = baselines.baselines / RUNS
    before = ours.read_bytes()

    status, out = baselines("merge", str(ours), str(theirs))

    assert status == 1
    assert f"  {MODULE}::test_chat, {SPEED}: the two sides have no run in common" in out.splitlines()
    assert ours.read_bytes() == before
    assert baselines("merge", str(ours), str(theirs), f"--prefer={prefer}")[0] == 0
    assert speeds(baselines) == kept


def test_other_values_of_an_invariant_are_a_conflict(baselines: Command, tmp_path: Path) -> None:
    baselines.accept(100.0)
    theirs = shutil.copy(baselines.baselines / FACTS, tmp_path / "theirs.json")
    changed = Test(invariants={"weights_bytes": 1, "greedy_output": [1, 2], "more": 3})
    store(baselines, results_of(changed), "replace")

    status, out = baselines("merge", str(baselines.baselines / FACTS), str(theirs))

    assert status == 1
    assert out.splitlines()[1:-1] == [
        f"  {MODULE}::test_chat, weights_bytes: the two sides have other values"
    ]
    assert baselines("merge", str(baselines.baselines / FACTS), str(theirs), "--prefer=theirs")[0] == 0
    _, document = baselines.json("show")
    assert document["invariants"][0]["invariants"] == {
        "weights_bytes": 91_000_000,
        "greedy_output": [1, 2],
        "more": 3,
    }


def test_only_versions_of_one_file_are_joined(baselines: Command) -> None:
    baselines.accept(100.0)
    runs, facts = (str(baselines.baselines / name) for name in (RUNS, FACTS))
    assert "are not of one module and one machine" in baselines.refused("merge", runs, facts)
    assert "has no conflict markers: name the other version, too" in baselines.refused("merge", runs)
    assert "there is no such file" in baselines.refused("merge", runs, "nothing.json")


def test_a_side_that_was_edited_is_refused(baselines: Command, git: Callable[..., str]) -> None:
    branches(baselines, git, results_of(Test(speed=101.0), hours=5), results_of(Test(speed=102.0), hours=4))
    path = baselines.baselines / RUNS
    path.write_text(path.read_text().replace("102.0", "202.0"))
    assert "was edited by hand or damaged" in baselines.refused("merge", str(path))


def test_ci_merges_nothing(baselines: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    baselines.accept(100.0)
    monkeypatch.setenv("CI", "1")
    path = str(baselines.baselines / RUNS)
    assert "CI never writes a baseline" in baselines.refused("merge", path, path)
