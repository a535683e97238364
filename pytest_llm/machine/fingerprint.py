"""What machine this is, and how much of it this process may use."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from contextlib import suppress
from pathlib import Path

import psutil

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Return how many physical cores this process may keep busy, at least 1.

    The smallest of: physical cores, the processors that the affinity mask allows, and the control group's
    CPU quota, rounded up. A thread more than that makes every thread of llama.cpp wait.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    physical = psutil.cpu_count(logical=False)
    return max(1, min(count for count in (allowed, physical, _quota()) if count))


def available_bytes() -> int:
    """Return how much memory programs can still take without swapping."""
    return psutil.virtual_memory().available


def own_processes() -> list[int]:
    """Return the ids of the processes that this one started, and of theirs."""
    return [each.pid for each in psutil.Process().children(recursive=True)]


def parts() -> dict[str, str | int]:
    """Return what the fingerprint is made of: nothing that changes while the machine stays the same."""
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def fingerprint() -> str:
    """Return a short name of the machine: equal parts, equal name."""
    text = "\n".join(f"{name}={value}" for name, value in sorted(parts().items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _quota() -> int | None:
    with suppress(OSError, ValueError):
        quota, period = _CGROUP_QUOTA.read_text().split()
        return math.ceil(int(quota) / int(period))  # "max" is no number: no quota
    return None
