"""Why a round must not count."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.machine.gpu.nvml import open_nvml
from pytest_llm.machine.noise import counters, find_noise, steal
from pytest_llm.machine.unavailable import Unavailable

from .things import CPU, VERSION_2, Library

if TYPE_CHECKING:
    from pytest_llm.machine.noise import AllNoise
    from pytest_llm.records.protocols import Noise

    from .things import Tree

STOLEN = (steal.REASON,)


class Rounds:
    """Time passes on a machine, and every round is asked about."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.used = 1000
        self.stolen = 40
        self._write()
        source = steal.find(tree.root)
        assert isinstance(source, steal.Steal)
        self.source = source

    def _write(self) -> None:
        self.tree.stat(self.used, self.stolen, idle=10**6)

    def between(self, used: int, stolen: int) -> None:
        self.used += used
        self.stolen += stolen
        self._write()

    def round(self, used: int, stolen: int) -> tuple[str, ...]:
        self.source.mark()
        self.between(used, stolen)
        return self.source.since_mark()


@pytest.fixture
def rounds(tree: Tree) -> Rounds:
    return Rounds(tree)


def test_a_share_at_the_limit_counts_and_one_above_does_not(rounds: Rounds) -> None:
    assert rounds.round(used=190, stolen=10) == ()
    assert rounds.round(used=189, stolen=11) == STOLEN


def test_the_limits_on_steal_are_a_twentieth_of_at_least_100_ticks() -> None:
    assert (steal.MOST_STOLEN, steal.LEAST_TICKS) == (0.05, 100)


def test_idle_processors_do_not_hide_what_busy_ones_lost(tree: Tree) -> None:
    tree.stat(used=0, stolen=0, idle=0)
    source = steal.find(tree.root)
    assert isinstance(source, steal.Steal)
    tree.stat(used=200, stolen=200, idle=6400)
    assert source.since_mark() == STOLEN


def test_too_few_ticks_say_nothing(rounds: Rounds) -> None:
    assert rounds.round(used=50, stolen=49) == ()
    assert rounds.round(used=0, stolen=1) == STOLEN


def test_a_short_round_is_judged_with_just_enough_of_those_before_it(rounds: Rounds) -> None:
    assert rounds.round(used=100, stolen=0) == ()
    assert rounds.round(used=36, stolen=4) == ()  # 4 of 140, with the one before
    assert rounds.round(used=57, stolen=3) == STOLEN  # 7 of 100, with the one before
    assert rounds.round(used=100, stolen=0) == ()  # long enough to be judged alone


def test_what_was_stolen_between_rounds_disturbs_none(rounds: Rounds) -> None:
    assert rounds.round(used=60, stolen=0) == ()
    rounds.between(used=0, stolen=500)
    assert rounds.round(used=60, stolen=0) == ()


def test_asking_twice_gives_the_same_answer(rounds: Rounds) -> None:
    assert rounds.round(used=60, stolen=3) == ()
    assert rounds.round(used=50, stolen=3) == STOLEN
    assert rounds.source.since_mark() == STOLEN
    assert rounds.round(used=100, stolen=0) == ()


def test_a_stretch_that_nobody_asked_about_judges_no_later_one(rounds: Rounds) -> None:
    assert rounds.round(used=60, stolen=0) == ()
    rounds.source.mark()
    rounds.between(used=0, stolen=500)
    rounds.source.mark()
    rounds.between(used=0, stolen=500)
    assert rounds.round(used=50, stolen=10) == STOLEN  # 10 of 120, with the one that was asked about


def test_an_unreadable_stat_is_no_reason(rounds: Rounds) -> None:
    rounds.source.mark()
    rounds.tree.write("proc/stat", "")
    assert rounds.source.since_mark() == ()
    rounds.source.mark()
    rounds.between(used=100, stolen=100)
    assert rounds.source.since_mark() == ()
    assert rounds.round(used=100, stolen=100) == STOLEN


@pytest.mark.parametrize(("text", "why"), [(None, "no /proc/stat"), ("cpu 1 2", "counts no steal")])
def test_without_counted_steal_the_source_is_absent(text: str | None, why: str, tree: Tree) -> None:
    if text is not None:
        tree.write("proc/stat", text)
    source = steal.find(tree.root)
    assert isinstance(source, Unavailable)
    assert why in source.reason


def found_thermal(tree: Tree, processors: set[int]) -> counters.MovedCounters:
    source = counters.find_thermal(tree.root, processors)
    assert isinstance(source, counters.MovedCounters)
    return source


@pytest.mark.parametrize("kind", ["core", "package"])
def test_a_thermal_counter_that_moves_is_a_reason_until_the_next_mark(kind: str, tree: Tree) -> None:
    tree.throttled(0, "core", 7)
    tree.throttled(0, "package", 7)
    source = found_thermal(tree, {0})
    assert source.since_mark() == ()
    tree.throttled(0, kind, 8)
    assert source.since_mark() == (counters.THERMAL,)
    source.mark()
    assert source.since_mark() == ()


def test_the_heat_of_processors_that_are_not_ours_is_no_reason(tree: Tree) -> None:
    for processor in (0, 1, 10):
        tree.throttled(processor, "core", 0)
    source = found_thermal(tree, {0, 10})
    tree.throttled(1, "core", 1)
    assert source.since_mark() == ()
    tree.throttled(10, "core", 1)
    assert source.since_mark() == (counters.THERMAL,)


def test_a_counter_that_processors_share_is_read_once(tree: Tree) -> None:
    for processor in range(4):
        tree.throttled(processor, "core", 0)
        tree.throttled(processor, "package", 0)
        tree.write(f"{CPU}/cpu{processor}/topology/thread_siblings_list", "0-1" if processor < 2 else "2-3")
        tree.write(f"{CPU}/cpu{processor}/topology/physical_package_id", 0)
    assert len(found_thermal(tree, {0, 1, 2, 3})._files) == 2 + 1


def test_without_thermal_counters_the_source_is_absent(tree: Tree) -> None:
    tree.write(f"{CPU}/cpu0/topology/thread_siblings_list", "0")
    source = counters.find_thermal(tree.root)
    assert source == Unavailable("no /sys/devices/system/cpu/cpu*/thermal_throttle")


def cpu_stat(tree: Tree, group: str, times: int, micros: int) -> None:
    text = f"usage_usec {time.monotonic_ns()}\nnr_periods 5\nnr_throttled {times}\nthrottled_usec {micros}"
    tree.write(f"sys/fs/cgroup/{group}/cpu.stat", text)


def found_quota(tree: Tree) -> counters.MovedCounters:
    tree.groups("0::/pod/ours", VERSION_2)
    for group in ("pod/ours", "pod", "pod/neighbour"):
        cpu_stat(tree, group, 3, 900)
    tree.write("sys/fs/cgroup/cpu.stat", "usage_usec 5")  # the top group has no quota
    source = counters.find_quota(tree.root)
    assert isinstance(source, counters.MovedCounters)
    return source


@pytest.mark.parametrize(
    ("group", "times", "micros", "reasons"),
    [
        ("pod/ours", 3, 900, ()),
        ("pod/ours", 4, 950, (counters.QUOTA,)),
        ("pod/ours", 3, 950, (counters.QUOTA,)),
        ("pod", 4, 900, (counters.QUOTA,)),
        ("pod/neighbour", 4, 950, ()),
    ],
)
def test_a_stop_of_our_group_or_of_one_around_it_is_a_reason(
    group: str, times: int, micros: int, reasons: tuple[str, ...], tree: Tree
) -> None:
    source = found_quota(tree)
    cpu_stat(tree, group, times, micros)
    assert source.since_mark() == reasons
    source.mark()
    assert source.since_mark() == ()


def test_a_group_that_goes_away_is_no_reason(tree: Tree) -> None:
    source = found_quota(tree)
    tree.write("sys/fs/cgroup/pod/ours/cpu.stat", "")
    assert source.since_mark() == ()


def test_stops_are_counted_by_version_1_in_nanoseconds(tree: Tree) -> None:
    mount = "33 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
    tree.groups("1:cpu:/", mount)
    tree.write("sys/fs/cgroup/cpu/cpu.stat", "nr_periods 1\nnr_throttled 0\nthrottled_time 0")
    source = counters.find_quota(tree.root)
    assert isinstance(source, counters.MovedCounters)
    tree.write("sys/fs/cgroup/cpu/cpu.stat", "nr_periods 2\nnr_throttled 0\nthrottled_time 5")
    assert source.since_mark() == (counters.QUOTA,)


def test_without_a_group_that_counts_the_source_is_absent(tree: Tree) -> None:
    tree.groups("0::/", VERSION_2)
    tree.write("sys/fs/cgroup/cpu.stat", "usage_usec 5")
    assert isinstance(counters.find_quota(tree.root), Unavailable)


def everything(tree: Tree, library: Library) -> AllNoise:
    tree.stat(used=0)
    tree.throttled(0, "core", 0)
    tree.groups("0::/", VERSION_2)
    tree.write("sys/fs/cgroup/cpu.stat", "nr_throttled 0")
    return find_noise(lambda: [7], tree.root, {0}, lambda: open_nvml(lambda: library))


def test_all_sources_are_asked_together(tree: Tree) -> None:
    library = Library(processes=[[7]])
    noise: Noise = everything(tree, library)
    noise.mark()
    assert noise.since_mark() == ()
    tree.stat(used=100, stolen=100)
    tree.throttled(0, "core", 1)
    tree.write("sys/fs/cgroup/cpu.stat", "nr_throttled 1")
    library.reasons = [0x08]
    assert noise.since_mark() == (steal.REASON, counters.THERMAL, counters.QUOTA, "GPU 0: hardware slowdown")
    library.reasons = [0]
    noise.mark()
    tree.stat(used=300, stolen=100)
    assert noise.since_mark() == ()


def test_what_is_covered_can_be_told(tree: Tree) -> None:
    noise = everything(tree, Library())
    assert noise.covered == ("CPU steal", "CPU thermal throttling", "CPU quota", "NVIDIA GPU")
    assert noise.not_covered == {}


def test_on_a_machine_that_tells_nothing_all_is_absent_and_nothing_a_reason(tree: Tree) -> None:
    library = Library(init_error="Driver Not Loaded")
    noise = find_noise(lambda: [7], tree.root, nvml=lambda: open_nvml(lambda: library))
    assert noise.covered == ()
    assert noise.not_covered == {
        "CPU steal": "no /proc/stat",
        "CPU thermal throttling": "no /sys/devices/system/cpu/cpu*/thermal_throttle",
        "CPU quota": "no control group counts throttling in cpu.stat",
        "NVIDIA GPU": "NVML: Driver Not Loaded",
    }
    noise.mark()
    assert noise.since_mark() == ()


def test_this_very_machine_can_be_asked_in_well_under_a_millisecond() -> None:
    noise = find_noise(lambda: [], Path("/"))
    seconds = []
    for _ in range(50):
        started = time.thread_time()
        noise.mark()
        noise.since_mark()
        seconds.append(time.thread_time() - started)
    assert min(seconds) < 0.001
    assert len(noise.covered) + len(noise.not_covered) == 4
