"""Control groups that ration this process's processors: versions 1 and 2 of Linux's cgroups.

The quota of every group around a process limits it, so all that can be seen from here are read.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pytest_llm.system.procfs import read_word


class _Mount(NamedTuple):
    kind: str  # "cgroup" or "cgroup2"
    options: list[str]
    root: PurePosixPath  # the group that is seen at the folder
    folder: str


def cpu_groups(root: Path) -> tuple[Path, ...]:
    """Return the folders of this process's groups, innermost first; ``root`` stands for ``/``."""
    version_1, version_2 = _memberships(read_word(root / "proc/self/cgroup") or "")
    for mount in _mounts(read_word(root / "proc/self/mountinfo") or ""):
        if version_1 and mount.kind == "cgroup" and "cpu" in mount.options:
            return _folders(root, mount, version_1)
        if version_2 and not version_1 and mount.kind == "cgroup2":
            return _folders(root, mount, version_2)
    return ()


def quota_processors(groups: tuple[Path, ...]) -> float | None:
    """Return the processors that the tightest quota of these groups allows; None if there is no quota."""
    return min((quota for quota in map(_quota, groups) if quota is not None), default=None)


def _memberships(text: str) -> tuple[str, str]:
    """Return the group's path in version 1's hierarchy of ``cpu`` and in version 2's, or "" for none."""
    version_1 = version_2 = ""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
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
