"""Control groups that ration this process's processors and memory: versions 1 and 2 of Linux's cgroups.

The limit of every group around a process limits it, so all that can be seen from here are read.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pytest_llm.system.procfs import read_word

# Version 1 writes the largest number of whole pages for "no limit".
_NO_LIMIT = 2**60


class _Mount(NamedTuple):
    kind: str  # "cgroup" or "cgroup2"
    options: list[str]
    root: PurePosixPath  # the group that is seen at the folder
    folder: str


def cpu_groups(root: Path) -> tuple[Path, ...]:
    """Return the folders of this process's groups, innermost first; ``root`` stands for ``/``."""
    return _groups(root, "cpu")


def memory_groups(root: Path) -> tuple[Path, ...]:
    """Return the folders of the groups that ration this process's memory, innermost first."""
    return _groups(root, "memory")


def quota_processors(groups: tuple[Path, ...]) -> float | None:
    """Return the processors that the tightest quota of these groups allows; None if there is no quota."""
    return min((quota for quota in map(_quota, groups) if quota is not None), default=None)


def memory_limit(groups: tuple[Path, ...]) -> int | None:
    """Return the bytes that the tightest of these groups allows; None if there is no limit."""
    return min((limit for limit in map(_memory_limit, groups) if limit is not None), default=None)


def memory_left(groups: tuple[Path, ...]) -> int | None:
    """Return the bytes that may still be allocated before a limit is reached; None if there is no limit."""
    return min((left for left in map(_memory_left, groups) if left is not None), default=None)


def _groups(root: Path, controller: str) -> tuple[Path, ...]:
    version_1, version_2 = _memberships(read_word(root / "proc/self/cgroup") or "", controller)
    for mount in _mounts(read_word(root / "proc/self/mountinfo") or ""):
        if version_1 and mount.kind == "cgroup" and controller in mount.options:
            return _folders(root, mount, version_1)
        if version_2 and not version_1 and mount.kind == "cgroup2":
            return _folders(root, mount, version_2)
    return ()


def _memberships(text: str, controller: str) -> tuple[str, str]:
    """Return the group's path in version 1's hierarchy of a controller and in version 2's, or "" for none."""
    version_1 = version_2 = ""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            version_1 = path
        elif number == "0" and not controllers:
            version_2 = path
    return version_1, version_2


def _mounts(text: str) -> list[_Mount]:
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        with suppress(ValueError):
            _, _, _, top, folder, *_ = before.split()
            kind, _, options, *_ = after.split()
            mounts.append(_Mount(kind, options.split(","), PurePosixPath(top), folder))
    return mounts


def _folders(root: Path, mount: _Mount, group: str) -> tuple[Path, ...]:
    top = root / mount.folder.lstrip("/")
    path = PurePosixPath(group)
    # In a container the path may name a group outside; then only the container's own can be seen.
    below = path.relative_to(mount.root) if path.is_relative_to(mount.root) else PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    folders = [top / part for part in (below, *below.parents)]
    return tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def _quota(group: Path) -> float | None:
    with suppress(ValueError):
        if (both := read_word(group / "cpu.max")) is not None:
            quota, period = both.split()
        else:
            quota = read_word(group / "cpu.cfs_quota_us") or ""
            period = read_word(group / "cpu.cfs_period_us") or ""
        allowed = int(quota) / int(period)  # "max" is no number: no quota
        return allowed if allowed > 0 else None  # version 1 writes -1 for none
    return None


def _memory_limit(group: Path) -> int | None:
    limits = [_number(group / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
    # Version 1 tells here the limits of the groups around it, too, that a container does not see.
    limits.append(_statistics(group).get("hierarchical_memory_limit"))
    return min((limit for limit in limits if limit is not None and limit < _NO_LIMIT), default=None)


def _memory_left(group: Path) -> int | None:
    limit = _memory_limit(group)
    used = _number(group / "memory.current")
    used = _number(group / "memory.usage_in_bytes") if used is None else used
    if limit is None or used is None:
        return limit
    statistics = _statistics(group)
    # Files that were read once: the kernel drops them before it refuses memory to anybody.
    droppable = statistics.get("total_inactive_file", statistics.get("inactive_file", 0))
    return max(0, limit - max(0, used - droppable))


def _number(path: Path) -> int | None:
    with suppress(ValueError):
        return int(read_word(path) or "")  # "max" is no number: no limit
    return None


def _statistics(group: Path) -> dict[str, int]:
    found = {}
    for line in (read_word(group / "memory.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        with suppress(ValueError):
            found[name] = int(value)
    return found
