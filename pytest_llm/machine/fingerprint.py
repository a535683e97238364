"""The machine: its name, its cores and memory, and how much of them this process may use."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_llm.errors import UsageError
from pytest_llm.machine.probes import all_devices
from pytest_llm.machine.processor import read_processor
from pytest_llm.system.cgroups import cpu_groups, memory_groups, memory_left, quota_processors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import JSON


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many physical cores this process may keep busy, at least 1; ``root`` stands for ``/``.

    The smallest of: physical cores, the processors that the affinity mask allows, and the control group's
    CPU quota, rounded up. A thread more than that makes every thread of llama.cpp wait.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    physical = psutil.cpu_count(logical=False)
    quota = quota_processors(cpu_groups(root))
    return max(1, min(count for count in (allowed, physical, quota and math.ceil(quota)) if count))


def available_bytes(root: Path = Path("/")) -> int:
    """Return how much memory this process's programs can still take without swapping.

    The smaller of what the machine has left and what the control group allows; ``root`` stands for ``/``.
    """
    left = memory_left(memory_groups(root))
    available = psutil.virtual_memory().available
    return available if left is None else min(available, left)


def own_processes() -> list[int]:
    """Return the ids of all descendants of this process."""
    return [each.pid for each in psutil.Process().children(recursive=True)]


@cache
def check_told() -> None:
    """Raise ``UsageError`` if the system does not tell what measuring needs."""
    try:
        psutil.virtual_memory()
        psutil.Process().children()
    except (OSError, psutil.Error) as error:
        raise UsageError(
            f"nothing can be measured here: the system does not tell its memory and processes ({error}): "
            "mount /proc"
        ) from None


def parts(root: Path = Path("/")) -> dict[str, str | int]:
    """Return the parts of the fingerprint, none of which changes while the machine stays the same.

    ``root`` stands for ``/``. Unknown parts are "".

    Raises:
        UsageError: The system does not even tell its memory.
    """
    check_told()
    processor = read_processor(root)
    return {
        "cpu": processor.name,
        "revision": processor.revision,
        "caches": processor.caches,
        "instruction_sets": processor.instruction_sets,
        "cores": psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "devices": _devices(),
        "system": f"{platform.system()} {platform.machine()}",
    }


@cache
def _devices() -> str:
    """Return the names of the GPUs, in the order of their numbers."""
    return ", ".join(device.name.partition(", ")[0] for device in all_devices().devices)


def fingerprint() -> str:
    """Return a short name of the machine: equal parts, equal name."""
    return name_of(parts())


def name_of(parts: Mapping[str, JSON]) -> str:
    """Return the short name of the machine that has these parts."""
    text = "\n".join(f"{name}={value}" for name, value in sorted(parts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
