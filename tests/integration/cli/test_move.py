"""``pytest-llm baselines move``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .things import FINGERPRINT, MODULE, SPEED, Test, results_of

if TYPE_CHECKING:
    from .things import Command

OLD, NEW = f"{MODULE}::test_chat", f"{MODULE}::TestChat::test_short[a b]"


def speeds(baselines: Command, name: str) -> list[float]:
    _, document = baselines.json("show", name)
    return [
        round(run["value"], 6)
        for machine in document["machines"]
        for test in machine["tests"]
        for run in test["metrics"][SPEED]["runs"]
    ]


def test_runs_of_every_machine_and_invariants_move(baselines: Command) -> None:
    baselines.accept(100.0, 101.0)
    other = results_of(Test(speed=50.0), fingerprint="another")
    baselines("accept", baselines.file(other))

    status, out = baselines("move", OLD, NEW)

    assert (status, out.splitlines()) == (
        0,
        [
            f"moved the baselines of 1 test in {baselines.baselines}",
            f"  {OLD} → {NEW}: machine {FINGERPRINT}, machine another, invariants",
        ],
    )
    assert speeds(baselines, NEW) == [100.0, 101.0, 50.0]
    assert baselines.json("show", OLD)[0] == 1


def test_all_tests_of_a_file_move_and_nothing_of_the_old_one_stays(baselines: Command) -> None:
    baselines("accept", baselines.file(results_of(Test(name="test_a"), Test(name="test_b[x]"))))
    status, document = baselines.json("move", MODULE, "bench/test_speed.py")
    assert status == 0
    assert [each["new"]["name"] for each in document["tests"]] == ["test_a", "test_b"]
    assert list(baselines.files()) == [
        f"machines/{FINGERPRINT}/bench/test_speed.py.json",
        "portable/bench/test_speed.py.json",
    ]
    assert not (baselines.baselines / "portable" / "tests").exists()


def test_what_is_stored_of_the_new_name_is_joined_in_the_order_of_time(baselines: Command) -> None:
    baselines.accept(100.0, 101.0)
    renamed = results_of(Test(name="TestChat::test_short[a b]", speed=99.0), hours=-1)
    baselines("accept", baselines.file(renamed))
    assert baselines("move", OLD, NEW)[0] == 0
    assert speeds(baselines, NEW) == [99.0, 100.0, 101.0]


def test_other_conditions_move_nothing_unless_the_new_ones_are_dropped(baselines: Command) -> None:
    baselines.accept(100.0)
    from pytest_llm.records import LoadOptions

    renamed = Test(name="TestChat::test_short[a b]", speed=99.0, options=LoadOptions(n_ctx=512))
    baselines("accept", baselines.file(results_of(renamed)))
    before = baselines.files()

    line = baselines.refused("move", OLD, NEW)

    assert line.startswith("nothing is moved: TestChat::test_short[a b] has baselines of its own")
    assert "n_ctx=512, now 4096" in line
    assert baselines.files() == before
    assert baselines("move", OLD, NEW, "--replace")[0] == 0
    assert speeds(baselines, NEW) == [100.0]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (f"{MODULE}::test_chta", NEW, f"unknown test '{MODULE}::test_chta': did you mean {OLD}? (stored in"),
        ("tests/test_sped.py", "x.py", f"unknown file 'tests/test_sped.py': did you mean {MODULE}?"),
        (OLD, "x.py", "are not of one kind: name two tests, or two files"),
        (OLD, OLD, "has this name already"),
        (OLD, "../x.py::test", "cannot have baselines: its name cannot be a file's"),
    ],
)
def test_bad_names_are_one_line_and_move_nothing(baselines: Command, old: str, new: str, told: str) -> None:
    baselines.accept(100.0)
    before = baselines.files()
    assert told in baselines.refused("move", old, new)
    assert baselines.files() == before


def test_ci_moves_nothing(baselines: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    baselines.accept(100.0)
    monkeypatch.setenv("CI", "1")
    assert "CI never writes a baseline" in baselines.refused("move", OLD, NEW)
