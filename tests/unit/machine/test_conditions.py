"""How a machine stands before a campaign, and what to change on it."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_llm.machine import advice as advising
from pytest_llm.machine.advice import advice
from pytest_llm.machine.conditions import Conditions, Gpu, System, read_conditions
from pytest_llm.machine.gpu.nvml import Nvml, open_nvml
from pytest_llm.machine.unavailable import Unavailable

from .things import CPU, VERSION_2, Library

if TYPE_CHECKING:
    from .things import Tree

NODES = "sys/devices/system/node"


class Still(System):
    """A machine with two processors on which nothing happens by itself."""

    def __init__(
        self,
        used: tuple[float, float] = (0, 0),
        ours: tuple[float, float] = (0, 0),
        affinity: tuple[int, ...] | None = (0, 1),
    ) -> None:
        self._used, self._ours = iter(used), iter(ours)
        self._affinity = affinity

    def wait(self) -> float:
        return 0.5

    def processors(self) -> int:
        return 2

    def used_seconds(self) -> float:
        return next(self._used)

    def our_seconds(self) -> float:
        return next(self._ours)

    def on_battery(self) -> bool | None:
        return None

    def load_average(self) -> float | None:
        return 0.25

    def affinity(self) -> tuple[int, ...] | None:
        return self._affinity


def no_gpu() -> Unavailable:
    return Unavailable("none")


def conditions_of(tree: Tree, system: System | None = None) -> Conditions:
    return read_conditions(tree.root, system or Still(), no_gpu)


UNKNOWN = Conditions(None, None, None, None, None, None, None, None, None, None, ())


def test_what_a_machine_does_not_tell_is_none(tree: Tree) -> None:
    found = conditions_of(tree, Still(affinity=None))
    assert dataclasses.replace(found, other_load=None, load_average=None) == UNKNOWN


def test_a_linux_machine_tells_everything(tree: Tree) -> None:
    tree.write(f"{CPU}/cpu0/cpufreq/scaling_governor", "schedutil")
    tree.write(f"{CPU}/cpu1/cpufreq/scaling_governor", "powersave")
    tree.write(f"{CPU}/cpu2/cpufreq/scaling_governor", "schedutil")
    tree.write(f"{CPU}/intel_pstate/no_turbo", 0)
    tree.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
    tree.write(f"{NODES}/node0/cpulist", "0-3")
    tree.stat(used=150, stolen=50)
    tree.groups("0::/", VERSION_2)
    tree.write("sys/fs/cgroup/cpu.max", "150000 100000")
    library = Library(reasons=[0x01, 0x44], processes=[[], [9, 5]])
    found = read_conditions(
        tree.root, Still(used=(10, 10.5), ours=(3, 3.25)), lambda: open_nvml(lambda: library)
    )
    assert found == Conditions(
        governors=("powersave", "schedutil"),
        turbo=True,
        on_battery=None,
        other_load=0.25,
        load_average=0.25,
        stolen_since_boot=0.25,
        huge_pages="madvise",
        affinity=(0, 1),
        numa_nodes=(0,),
        quota=1.5,
        gpus=(Gpu(0, (), ()), Gpu(1, ("thermal slowdown (hardware)", "power cap"), (5, 9))),
    )


def test_conditions_are_plain_values() -> None:
    found = read_conditions(system=Still(), nvml=no_gpu)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["load_average"] == 0.25


@pytest.mark.parametrize(
    ("path", "text", "turbo"),
    [
        ("intel_pstate/no_turbo", 0, True),
        ("intel_pstate/no_turbo", 1, False),
        ("cpufreq/boost", 1, True),
        ("cpufreq/boost", 0, False),
    ],
)
def test_turbo_is_told_by_either_driver(path: str, text: int, turbo: bool, tree: Tree) -> None:
    tree.write(f"{CPU}/{path}", text)
    assert conditions_of(tree).turbo is turbo


@pytest.mark.parametrize(
    ("affinity", "nodes"), [((0, 1), (0,)), ((1, 2), (0, 10)), ((2,), (10,)), (None, (0, 10))]
)
def test_the_nodes_are_those_of_the_processors_that_may_be_used(
    affinity: tuple[int, ...] | None, nodes: tuple[int, ...], tree: Tree
) -> None:
    tree.write(f"{NODES}/node0/cpulist", "0-1")
    tree.write(f"{NODES}/node10/cpulist", "2-3")
    tree.write(f"{NODES}/node11/cpulist", "")  # memory alone
    tree.write(f"{NODES}/node12/cpulist", "nonsense")
    assert conditions_of(tree, Still(affinity=affinity)).numa_nodes == nodes


@pytest.mark.parametrize(
    ("used", "ours", "load"),
    [
        ((0, 1.0), (0, 0), 1.0),
        ((0, 1.0), (0, 1.0), 0.0),
        ((5, 5.5), (2, 2.4), pytest.approx(0.1)),
        ((0, 0.5), (0, 0.52), 0.0),
        ((0, 1.01), (0, 0), 1.0),
    ],
)
def test_others_use_what_we_did_not(
    used: tuple[float, float], ours: tuple[float, float], load: float, tree: Tree
) -> None:
    assert conditions_of(tree, Still(used, ours)).other_load == load


class Recorded(Still):
    """Remembers in what order it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def used_seconds(self) -> float:
        self.asked.append("all")
        return super().used_seconds()

    def our_seconds(self) -> float:
        self.asked.append("ours")
        return super().our_seconds()

    def wait(self) -> float:
        self.asked.append("wait")
        return super().wait()


def test_what_asking_itself_uses_is_not_blamed_on_others(tree: Tree) -> None:
    system = Recorded()
    conditions_of(tree, system)
    assert system.asked == ["ours", "all", "wait", "all", "ours"]


class Unasked(Still):
    """Denies its times."""

    def our_seconds(self) -> float:
        raise psutil.AccessDenied


def test_times_that_are_denied_make_the_load_of_others_unknown(tree: Tree) -> None:
    assert conditions_of(tree, Unasked()).other_load is None


def test_all_processors_are_busier_than_we_are() -> None:
    assert System().used_seconds() > System().our_seconds() > 0


class Battery:
    """What psutil tells of one."""

    def __init__(self, power_plugged: bool | None) -> None:
        self.power_plugged = power_plugged


@pytest.mark.parametrize(
    ("battery", "answer"),
    [(Battery(True), False), (Battery(False), True), (Battery(None), None), (None, None)],
)
def test_a_battery_counts_only_when_nothing_else_gives_power(
    battery: Battery | None, answer: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert System().on_battery() is answer


def test_systems_that_know_neither_battery_nor_load_nor_affinity_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    monkeypatch.delattr(os, "getloadavg", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    system = System()
    assert (system.on_battery(), system.load_average(), system.affinity()) == (None, None, None)


def test_this_very_machine_can_be_looked_at() -> None:
    found = read_conditions()
    assert found.other_load is not None
    assert 0 <= found.other_load <= 1
    assert all(all(each) for each in advice(found))


FIT = Conditions(
    governors=("performance",),
    turbo=False,
    on_battery=False,
    other_load=0.05,
    load_average=9.0,
    stolen_since_boot=0.01,
    huge_pages="always",
    affinity=(0, 1),
    numa_nodes=(0,),
    quota=2.0,
    gpus=(Gpu(0, (), ()),),
)


@pytest.mark.parametrize("conditions", [FIT, UNKNOWN], ids=["fit", "unknown"])
def test_a_machine_that_is_fit_or_unknown_gets_no_advice(conditions: Conditions) -> None:
    assert advice(conditions) == []


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        (
            {"governors": ("performance", "powersave")},
            "the CPU governor is powersave",
            "set the governor to performance: cpupower frequency-set -g performance",
        ),
        ({"governors": ("ondemand", "schedutil")}, "governor is ondemand and schedutil", "frequency-set"),
        ({"turbo": True}, "turbo is on", "no_turbo"),
        ({"on_battery": True}, "on its battery", "plug it in"),
        ({"other_load": 0.051}, "other processes use 5% of the processors", "end them"),
        ({"stolen_since_boot": 0.0123}, "has taken 1.2% of", "processors of its own"),
        ({"quota": 1.5}, "allows 1.5 processors' worth of time on 2", "--cpuset-cpus"),
        ({"quota": 64.0, "affinity": None}, "allows 64 processors' worth of time", "--cpuset-cpus"),
        ({"numa_nodes": (1, 3)}, "belong to 2 NUMA nodes", "numactl --cpunodebind=1 --membind=1"),
        ({"gpus": (Gpu(2, (), (7,)),)}, "GPU 2 is used by process 7", "end what is not yours"),
        ({"gpus": (Gpu(2, (), (7, 8)),)}, "used by processes 7, 8", "end what is not yours"),
        ({"gpus": (Gpu(0, ("power brake",), ()),)}, "holds its clocks down: power brake", "nvidia-smi"),
    ],
)
def test_each_trouble_gets_one_advice_with_its_fix(change: dict[str, object], what: str, fix: str) -> None:
    (found,) = advice(dataclasses.replace(FIT, **change))  # type: ignore[arg-type] # one field each
    assert what in found.what
    assert fix in found.change
    assert found.why


def test_what_disturbs_most_is_advised_on_first() -> None:
    everything = dataclasses.replace(FIT, turbo=True, governors=("powersave",), on_battery=True)
    assert [each.what.split()[-1] for each in advice(everything)] == ["battery", "powersave", "on"]


def test_the_thresholds_of_advice() -> None:
    assert (advising.MOST_OTHER_LOAD, advising.MOST_STOLEN_SINCE_BOOT) == (0.05, 0.01)


def test_a_device_that_does_not_answer_has_no_limits_and_no_processes(tree: Tree) -> None:
    lost = Nvml(Library(refuses=True))
    assert read_conditions(tree.root, Still(), lambda: lost).gpus == (Gpu(0, (), ()),)
