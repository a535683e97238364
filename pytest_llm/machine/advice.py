"""Advice: what to change on a machine before its timings are trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.machine.conditions import Conditions

# The only governor that keeps a processor's clock where it is; the others follow the load, and raise the
# clock some milliseconds into a slice.
STEADY_GOVERNOR = "performance"
# A twentieth of all processors is as much as the slowdowns that are looked for, and well above what an idle
# desktop or the services of a server use.
MOST_OTHER_LOAD = 0.05
# Averaged over days, a host that takes more than a hundredth takes many times that in its busy hours.
MOST_STOLEN_SINCE_BOOT = 0.01


class Advice(NamedTuple):
    """One improvement.

    Attributes:
        what: The finding: "the CPU governor is powersave".
        why: Its effect on measurements.
        change: What to do about it.
    """

    what: str
    why: str
    change: str


def advice(conditions: Conditions) -> list[Advice]:
    """Return all improvements, the most important first; unknown conditions give none."""
    return [each for judge in _JUDGES for each in judge(conditions)]


def _battery(conditions: Conditions) -> Iterator[Advice]:
    if conditions.on_battery:
        yield Advice(
            "the machine runs on its battery",
            "power saving lowers the clocks when it likes",
            "plug it in",
        )


def _governor(conditions: Conditions) -> Iterator[Advice]:
    wandering = [name for name in conditions.governors or () if name != STEADY_GOVERNOR]
    if wandering:
        yield Advice(
            f"the CPU governor is {' and '.join(wandering)}",
            "clocks follow the load, so a slice depends on what ran before it",
            f"set the governor to {STEADY_GOVERNOR}: cpupower frequency-set -g {STEADY_GOVERNOR}",
        )


def _quota(conditions: Conditions) -> Iterator[Advice]:
    allowed = len(conditions.affinity or ())
    if conditions.quota is not None and not 0 < allowed <= conditions.quota:
        yield Advice(
            f"the control group allows {conditions.quota:g} processors' worth of time"
            + (f" on {allowed}" if allowed else ""),
            "once it is used up, all threads stop in the middle of a slice",
            "lift the quota, or give whole processors instead: --cpuset-cpus in place of --cpus",
        )


def _others(conditions: Conditions) -> Iterator[Advice]:
    if conditions.other_load is not None and conditions.other_load > MOST_OTHER_LOAD:
        yield Advice(
            f"other processes use {conditions.other_load:.0%} of the processors",
            "llama.cpp waits for its slowest thread, so one that shares its core holds all back",
            "end them, or measure while they rest",
        )


def _steal(conditions: Conditions) -> Iterator[Advice]:
    stolen = conditions.stolen_since_boot
    if stolen is not None and stolen > MOST_STOLEN_SINCE_BOOT:
        yield Advice(
            f"the host has taken {stolen:.1%} of this machine's processor time since it started",
            "other machines on the host make slices longer, and no two of them alike",
            "use a machine with processors of its own",
        )


def _turbo(conditions: Conditions) -> Iterator[Advice]:
    if conditions.turbo:
        yield Advice(
            "turbo is on",
            "clocks above the nominal one depend on heat and on how many cores are busy",
            "turn it off: echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo, or where there is no such "
            "file: echo 0 > /sys/devices/system/cpu/cpufreq/boost",
        )


def _nodes(conditions: Conditions) -> Iterator[Advice]:
    nodes = conditions.numa_nodes or ()
    if len(nodes) > 1:
        yield Advice(
            f"the processors belong to {len(nodes)} NUMA nodes",
            "where the weights come to lie differs between processes, and with it the speed",
            f"keep to one node: numactl --cpunodebind={nodes[0]} --membind={nodes[0]} pytest …",
        )


def _gpus(conditions: Conditions) -> Iterator[Advice]:
    for gpu in conditions.gpus:
        if gpu.processes:
            yield Advice(
                f"GPU {gpu.index} is used by {_pids(gpu.processes)}",
                "rounds do not count while another process computes on the device",
                "end what is not yours to measure",
            )
        if gpu.limits:
            yield Advice(
                f"GPU {gpu.index} holds its clocks down: {', '.join(gpu.limits)}",
                "before any work, this is heat left over, bad power supply or a setting",
                "let it cool down, and look at nvidia-smi -q -d PERFORMANCE",
            )


def _pids(pids: tuple[int, ...]) -> str:
    return ("process " if len(pids) == 1 else "processes ") + ", ".join(map(str, pids))


_JUDGES = (_battery, _gpus, _others, _quota, _steal, _governor, _nodes, _turbo)
