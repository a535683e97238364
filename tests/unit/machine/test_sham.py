"""Sham pairs: what differs in them, and the spread of what pretended machines show."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.machine.qualification import GATES, sham
from pytest_llm.machine.qualification.sham import PAIR_SESSIONS, PAIRS, Sham, measure_bias
from pytest_llm.records.side import Side
from pytest_llm.stats.label_bias import least_tolerance, refuses
from pytest_llm.system.start_size import PADDING
from tests.bare import MODEL, SUBJECT
from tests.unit.machine.test_qualification import WORKLOAD, Machine, Told, context

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.records import Model, Subject
    from pytest_llm.records.protocols import Engine


class Slower:
    """The machine's engine, whose processes are slower by a share for no reason of their code."""

    def __init__(self, machine: Machine, share: float) -> None:
        self._machine = machine
        self._share = share

    def start(self, subject: Subject, model: Model) -> Any:
        loaded = self._machine.start(subject, model)
        loaded.inject_slowdown(self._share)
        return loaded

    def start_generation(self, subject: Subject, model: Model) -> Any:
        raise NotImplementedError


def biased(machine: Machine, name: str, *shares: float) -> Sham:
    def pair(side: Side, number: int) -> tuple[Side, Side]:
        return side._replace(engine=Slower(machine, shares[number % len(shares)])), side

    return Sham(name, pair)


def test_the_spread_is_that_of_what_belongs_to_a_side() -> None:
    machine, told, titles = Machine(spread=0.001), Told(), list[str]()
    shams = [biased(machine, "path", 0.004, 0.008), biased(machine, "layout", 0.0)]
    side = Side(SUBJECT, MODEL, machine)
    found = measure_bias(side, WORKLOAD, shams, context(machine, told), titles.append, ["none"])
    assert [each.kind for each in found.pairs] == ["path", "layout"] * (PAIRS // 2)
    assert titles[1] == f"sham pair 2 of {PAIRS}: layout"
    assert told.sessions == PAIRS * PAIR_SESSIONS
    assert found.left_out == ("none",)
    expected = ((2 * 0.004**2 + 0.008**2) / PAIRS) ** 0.5
    assert found.tau == pytest.approx(expected, rel=0.15)


def test_a_spread_that_would_refuse_the_default_gate_is_measured_again_with_twice_the_sessions() -> None:
    machine, told = Machine(spread=0.001), Told()
    side = Side(SUBJECT, MODEL, machine)
    shams = [biased(machine, "path", 0.05)]
    found = measure_bias(side, WORKLOAD, shams, context(machine, told), lambda _: None)
    assert told.sessions == 3 * PAIRS * PAIR_SESSIONS
    assert {len(ratios) for each in found.pairs for ratios in each.log_ratios.values()} == {3 * PAIR_SESSIONS}
    assert found.tau == pytest.approx(0.0488, rel=0.05)


def test_the_altered_side_is_the_candidate_and_the_reference_in_turn() -> None:
    machine = Machine(spread=0.0001)
    side = Side(SUBJECT, MODEL, machine)
    shams = [biased(machine, "path", 0.01)]
    found = measure_bias(side, WORKLOAD, shams, context(machine, Told()), lambda _: None)
    signs = [each.log_ratios[GATES[0].metric.name][0] > 0 for each in found.pairs]
    assert signs == [True, False] * (PAIRS // 2)


def test_a_fixed_start_order_is_that_of_the_processes_alone() -> None:
    machine = Machine()
    around = context(machine, Told())
    fixed = biased(machine, "preloaded", 0.0)._replace(fixed_start=True)
    first, second = fixed.around(around, 0), fixed.around(around, 1)
    assert first.start_coin is not None
    assert second.start_coin is not None
    # The altered side starts first: the candidate of the first pair, the reference of the second.
    assert (first.start_coin(), second.start_coin()) == (True, False)
    assert first.coin == around.coin
    assert biased(machine, "path", 0.0).around(around, 0) is around


def test_copies_lie_at_paths_of_different_length_and_the_long_one_has_a_larger_environment(
    tmp_path: Path,
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libllama.so").write_bytes(b"code")
    (tmp_path / "copies").mkdir()
    machine = Machine()
    folders: list[Path] = []
    padding: list[int] = []

    class Noting:
        def start(self, subject: Subject, model: Model) -> Any:
            padding.append(len(os.environ.get(PADDING, "")))

        def start_generation(self, subject: Subject, model: Model) -> Any:
            raise NotImplementedError

    def with_library(engine: Engine, folder: Path) -> Engine:
        assert (folder / "libllama.so").read_bytes() == b"code"
        folders.append(folder)
        return Noting()

    kind = sham.paths(tmp_path / "lib", tmp_path / "copies", with_library)
    for number in range(3):
        for each in kind.pair(Side(SUBJECT, MODEL, machine), number):
            each.engine.start(SUBJECT, MODEL)
    lengths = [len(str(each)) for each in folders]
    longer = [max(lengths[place : place + 2]) - min(lengths[place : place + 2]) for place in (0, 2, 4)]
    assert all(each > 150 for each in longer)
    assert len(set(longer)) == 3  # each pair is another draw
    assert [each > 0 for each in padding] == [True, False] * 3
    assert PADDING not in os.environ


def test_a_realigned_build_has_the_same_settings_and_other_alignment() -> None:
    assert sham.realigned_settings(("-DCMAKE_CXX_FLAGS=-O2", "-DGGML_NATIVE=OFF")) == (
        "-DCMAKE_CXX_FLAGS=-O2 -falign-functions=64",
        "-DCMAKE_C_FLAGS=-falign-functions=64",
        "-DGGML_NATIVE=OFF",
    )


def test_the_least_tolerance_of_a_gate_is_twice_what_could_be_negligible() -> None:
    assert not refuses(0.008, 0.05)
    assert refuses(0.0082, 0.05)
    assert not refuses(0.0082, least_tolerance(0.0082) + 1e-9)
    assert least_tolerance(0.01) == pytest.approx(0.0618, abs=0.0001)
