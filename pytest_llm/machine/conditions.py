"""Conditions of this machine before a campaign: what makes timings wander, or all of them slower."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_llm.machine.gpu.nvml import LASTING_LIMITS, SLOWDOWNS, open_nvml, words
from pytest_llm.machine.other_load import watch_others
from pytest_llm.machine.unavailable import Unavailable
from pytest_llm.system.cgroups import cpu_groups, memory_groups, memory_limit, quota_processors
from pytest_llm.system.procfs import ProcessorTime, parse_list, parse_stat, read_word

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.machine.gpu.nvml import Nvml

# Long enough for 10 ms ticks to tell a hundredth of two processors, short enough to wait for.
_INTERVAL = 0.5  # seconds

_CPU = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA device.

    Attributes:
        index: NVML's own.
        limits: Why its clocks are not higher now, in words; an idle device has none.
        processes: Ids of those that compute on it.
    """

    index: int
    limits: tuple[str, ...]
    processes: tuple[int, ...]


@dataclass(frozen=True)
class Conditions:
    """What was found; None for what this machine does not tell.

    Attributes:
        governors: Of the processors' clocks, each once, sorted.
        turbo: Whether clocks may rise above the nominal one.
        on_battery: Whether the machine runs on its battery.
        other_load: Share of all processors that others than this process and its children used, over a
            short interval.
        load_average: Over the last minute.
        stolen_since_boot: Share of the processor time that was wanted since the machine started, which the
            host gave to other machines.
        huge_pages: The mode of transparent huge pages: "always", "madvise" or "never".
        affinity: The processors that this process may run on, sorted.
        numa_nodes: Nodes of memory that these processors belong to, sorted.
        quota: How many processors' worth of time the control group may use; None also if it may use all.
        gpus: NVIDIA's devices; none where there is no driver.
        memory_limit: Bytes that the control group may use; None also if it may use all.
    """

    governors: tuple[str, ...] | None
    turbo: bool | None
    on_battery: bool | None
    other_load: float | None
    load_average: float | None
    stolen_since_boot: float | None
    huge_pages: str | None
    affinity: tuple[int, ...] | None
    numa_nodes: tuple[int, ...] | None
    quota: float | None
    gpus: tuple[Gpu, ...]
    memory_limit: int | None = None


class System:
    """The conditions that psutil and the system calls give, not files."""

    def wait(self) -> float:
        """Sleep for the interval; return the seconds that passed."""
        started = time.monotonic()
        time.sleep(_INTERVAL)
        return time.monotonic() - started

    def processors(self) -> int:
        return psutil.cpu_count() or 1

    def used_seconds(self) -> float:
        """Return the processor time of all processes since the machine started."""
        times = psutil.cpu_times()
        return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))

    def our_seconds(self) -> float:
        """Return the processor time of this process and its children, ended ones included."""
        seconds = 0.0
        for process in (me := psutil.Process(), *me.children(recursive=True)):
            with suppress(psutil.Error):  # it may end in between
                seconds += sum(process.cpu_times()[:4])
        return seconds

    def on_battery(self) -> bool | None:
        """Return whether the machine runs on its battery; None without one."""
        with suppress(AttributeError, OSError, NotImplementedError, RuntimeError):
            battery = psutil.sensors_battery()
            if battery is not None and battery.power_plugged is not None:
                return not battery.power_plugged
        return None

    def load_average(self) -> float | None:
        """Return the mean number of runnable processes over the last minute."""
        with suppress(AttributeError, OSError):
            return os.getloadavg()[0]
        return None

    def affinity(self) -> tuple[int, ...] | None:
        return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None


def read_conditions(
    root: Path = Path("/"),
    system: System | None = None,
    nvml: Callable[[], Nvml | Unavailable] = open_nvml,
) -> Conditions:
    """Look at everything once; takes half a second, in which others are watched.

    Args:
        root: What stands for ``/``.
        system: What stands for the operating system.
        nvml: Opens NVIDIA's library.
    """
    system = system or System()
    affinity = system.affinity()
    return Conditions(
        governors=_governors(root),
        turbo=_turbo(root),
        on_battery=system.on_battery(),
        other_load=_other_load(system),
        load_average=system.load_average(),
        stolen_since_boot=_stolen(parse_stat(read_word(root / "proc/stat") or "")),
        huge_pages=_chosen(read_word(root / "sys/kernel/mm/transparent_hugepage/enabled") or ""),
        affinity=affinity,
        numa_nodes=_numa_nodes(root, affinity),
        quota=quota_processors(cpu_groups(root)),
        gpus=_gpus(nvml()),
        memory_limit=memory_limit(memory_groups(root)),
    )


def _governors(root: Path) -> tuple[str, ...] | None:
    found = {read_word(path) for path in (root / _CPU).glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return tuple(sorted(filter(None, found))) or None


def _turbo(root: Path) -> bool | None:
    if no_turbo := read_word(root / _CPU / "intel_pstate/no_turbo"):
        return no_turbo == "0"
    if boost := read_word(root / _CPU / "cpufreq/boost"):
        return boost == "1"
    return None


def _other_load(system: System) -> float | None:
    share = watch_others(system)
    return share(system.wait())


def _stolen(since_boot: ProcessorTime | None) -> float | None:
    return since_boot.stolen / since_boot.wanted if since_boot and since_boot.wanted else None


def _chosen(text: str) -> str | None:
    """Return the word in brackets: the kernel lists all choices and marks one."""
    before, _, after = text.partition("[")
    return after.partition("]")[0] or before or None


def _numa_nodes(root: Path, affinity: tuple[int, ...] | None) -> tuple[int, ...] | None:
    nodes = set()
    for path in (root / "sys/devices/system/node").glob("node[0-9]*"):
        with suppress(ValueError):
            processors = parse_list(read_word(path / "cpulist") or "")
            if processors & (processors if affinity is None else set(affinity)):
                nodes.add(int(path.name[4:]))
    return tuple(sorted(nodes)) or None


def _gpus(nvml: Nvml | Unavailable) -> tuple[Gpu, ...]:
    if isinstance(nvml, Unavailable):
        return ()
    names = SLOWDOWNS | LASTING_LIMITS
    return tuple(
        Gpu(device, words(nvml.clock_reasons(device), names), tuple(sorted(nvml.computing(device))))
        for device in nvml.devices
    )
