"""The machine: its name, its cores and memory, and how much of them this process may use."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from pathlib import Path

import psutil

from pytest_llm.system.cgroups import cpu_groups, quota_processors
from pytest_llm.system.procfs import cpu_model


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many physical cores this process may keep busy, at least 1; ``root`` stands for ``/``.

    The smallest of: physical cores, the processors that the affinity mask allows, and the control group's
    CPU quota, rounded up. A thread more than that makes every thread of llama.cpp wait.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    physical = psutil.cpu_count(logical=False)
    quota = quota_processors(cpu_groups(root))
    return max(1, min(count for count in (allowed, physical, quota and math.ceil(quota)) if count))


def available_bytes() -> int:
    """Return how much memory programs can still take without swapping."""
    return psutil.virtual_memory().available


def own_processes() -> list[int]:
    """Return the ids of all descendants of this process."""
    return [each.pid for each in psutil.Process().children(recursive=True)]


def parts() -> dict[str, str | int]:
    """Return the parts of the fingerprint, none of which changes while the machine stays the same."""
    return {
        "cpu": cpu_model() or platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def fingerprint() -> str:
    """Return a short name of the machine: equal parts, equal name."""
    text = "\n".join(f"{name}={value}" for name, value in sorted(parts().items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
