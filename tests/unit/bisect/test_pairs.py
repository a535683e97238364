"""Which build it is that cannot be measured, and what is asked only once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llm.bisect.cache import Cache, Unfit
from pytest_llm.bisect.comparisons import Pairs
from pytest_llm.bisect.pytest_runner import Outcome, Runner
from pytest_llm.errors import EngineError, EngineMissingError, UsageError
from pytest_llm.records import Build

ROW = ["old", "mid", "new"]


class Machine(Runner):
    """Stands for pytest on a machine where some builds do not run."""

    def __init__(self, *broken: str) -> None:
        super().__init__("test_it.py::test", Path())
        object.__setattr__(self, "broken", broken)
        object.__setattr__(self, "asked", [])

    broken: tuple[str, ...]
    asked: list[tuple[str, ...]]

    def compare(self, reference: str, candidate: str, comparisons: int) -> Outcome:
        self.asked.append((reference, candidate))
        bad = [each for each in (candidate, reference) if each in self.broken]
        return Outcome(None, f"{bad[0]} died") if bad else Outcome({"of": [reference, candidate]})

    def solo(self, candidate: str) -> Outcome:
        self.asked.append((candidate,))
        return Outcome(None, f"{candidate} died") if candidate in self.broken else Outcome({})


class Nothing(Cache):
    """Keeps comparisons nowhere: their results here are none."""

    def comparison(self, reference: object, candidate: object, family: int) -> None:
        return None

    def store_comparison(self, *_: Any) -> None:
        pass


def describe(text: str) -> Build:
    if text == "unbuilt":
        raise EngineMissingError("unbuilt: no llama_cpp")
    if text == "dying":
        raise EngineError("dying dies while it is imported")
    return Build("llama-cpp-python", text, "", f"/nowhere/{text}/bin/python")


def pairs(machine: Machine, folder: Path, row: list[str] = ROW, *, fresh: bool = False) -> Pairs:
    return Pairs(row, describe, machine, Nothing(folder, {}, fresh=fresh), 7, 1)


def test_a_pair_is_measured_once(tmp_path: Path) -> None:
    machine = Machine()
    row = pairs(machine, tmp_path)
    assert row.compare(0, 2) is row.compare(0, 2)
    assert machine.asked == [("old", "new")]


def test_a_build_without_the_engine_cannot_be_built_and_is_not_measured(tmp_path: Path) -> None:
    machine = Machine()
    row = pairs(machine, tmp_path, ["old", "unbuilt", "new"])
    assert row.compare(0, 1) is None
    assert row.unfit == {1: Unfit("cannot be built", "no llama_cpp")}
    assert machine.asked == []


def test_a_build_that_dies_as_it_starts_cannot_run(tmp_path: Path) -> None:
    row = pairs(Machine(), tmp_path, ["old", "dying"])
    assert row.compare(0, 1) is None
    assert row.unfit[1].what == "cannot run"


def test_both_ends_that_cannot_be_tested_are_told_at_once(tmp_path: Path) -> None:
    row = pairs(Machine(), tmp_path, ["unbuilt", "dying"])
    assert row.compare(0, 1) is None
    assert set(row.unfit) == {0, 1}


@pytest.mark.parametrize(("broken", "place"), [("old", 0), ("mid", 1)])
def test_the_one_that_fails_solo_as_well_cannot_run(broken: str, place: int, tmp_path: Path) -> None:
    row = pairs(Machine(broken), tmp_path)
    assert row.compare(0, 1) is None
    assert row.unfit == {place: Unfit("cannot run", f"{broken} died")}


def test_that_a_build_cannot_run_is_kept(tmp_path: Path) -> None:
    pairs(Machine("mid"), tmp_path).compare(0, 1)
    again = Machine("mid")
    row = pairs(again, tmp_path)
    assert row.compare(1, 2) is None
    assert (again.asked, row.unfit[1].reason) == ([], "mid died")


def test_a_fresh_bisect_tries_it_again(tmp_path: Path) -> None:
    pairs(Machine("mid"), tmp_path).compare(0, 1)
    assert pairs(Machine(), tmp_path, fresh=True).compare(0, 1) is not None


def test_no_build_is_to_blame_where_none_runs(tmp_path: Path) -> None:
    row = pairs(Machine(*ROW), tmp_path)
    with pytest.raises(UsageError, match="old and mid: neither can be measured solo: mid died"):
        row.compare(0, 1)
    assert row.unfit == {}
    assert list(tmp_path.iterdir()) == []
