"""Which control groups ration this process's processors and memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_llm.machine import fingerprint
from pytest_llm.machine.noise.counters import QUOTA, find_quota
from pytest_llm.machine.unavailable import Unavailable
from pytest_llm.system.cgroups import cpu_groups, memory_groups, memory_left, memory_limit, quota_processors

from .test_conditions import conditions_of
from .things import VERSION_2

if TYPE_CHECKING:
    from .things import Tree

TOP = "sys/fs/cgroup"
VERSION_1 = "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


def found(tree: Tree) -> list[str]:
    return [str(folder.relative_to(tree.root)) for folder in cpu_groups(tree.root)]


def test_the_own_group_comes_first_and_those_around_it_follow(tree: Tree) -> None:
    tree.groups("0::/user.slice/session.scope", VERSION_2)
    (tree.root / TOP / "user.slice" / "session.scope").mkdir(parents=True)
    assert found(tree) == [f"{TOP}/user.slice/session.scope", f"{TOP}/user.slice", TOP]


def test_a_group_that_is_seen_only_from_outside_is_the_top_one_here(tree: Tree) -> None:
    tree.groups("0::/docker/abc", VERSION_2)
    (tree.root / TOP).mkdir(parents=True)
    assert found(tree) == [TOP]


def test_a_group_outside_the_namespace_is_the_top_one_here(tree: Tree) -> None:
    tree.groups("0::/../other", VERSION_2)
    (tree.root / TOP).mkdir(parents=True)
    (tree.root / "sys/fs/other").mkdir()
    assert found(tree) == [TOP]


def test_a_mount_of_a_group_below_the_top_is_counted_from_that_group(tree: Tree) -> None:
    tree.groups("0::/docker/abc/job", VERSION_2.replace(" / /sys", " /docker/abc /sys"))
    (tree.root / TOP / "job").mkdir(parents=True)
    assert found(tree) == [f"{TOP}/job", TOP]


def test_version_1_is_where_the_processors_are_though_version_2_is_there_too(tree: Tree) -> None:
    tree.groups(
        "4:cpuset:/c\n2:cpu,cpuacct:/job\n1:memory:/m\n0::/", "\n".join([VERSION_2, MEMORY, VERSION_1])
    )
    (tree.root / TOP / "cpu,cpuacct" / "job").mkdir(parents=True)
    assert found(tree) == [f"{TOP}/cpu,cpuacct/job", f"{TOP}/cpu,cpuacct"]


@pytest.mark.parametrize(
    ("memberships", "mounts"),
    [("", ""), ("0::/", ""), ("", VERSION_2), ("4:memory:/", MEMORY), ("nonsense", "non - sense")],
)
def test_without_a_group_or_a_mount_there_are_none(memberships: str, mounts: str, tree: Tree) -> None:
    tree.groups(memberships, mounts)
    (tree.root / TOP / "memory").mkdir(parents=True)
    assert found(tree) == []


def test_without_proc_there_are_none(tree: Tree) -> None:
    assert found(tree) == []


def test_the_tightest_quota_counts(tree: Tree) -> None:
    tree.write("inner/cpu.max", "300000 100000")
    tree.write("outer/cpu.max", "150000 100000")
    tree.write("top/cpu.max", "max 100000")
    groups = tuple(tree.root / name for name in ("inner", "outer", "top", "missing"))
    assert quota_processors(groups) == 1.5
    assert quota_processors(groups[2:]) is None


@pytest.mark.parametrize(("quota", "processors"), [(50000, 0.5), (-1, None), ("", None)])
def test_version_1_writes_quota_and_period_apart(quota: object, processors: float | None, tree: Tree) -> None:
    tree.write("cpu.cfs_quota_us", quota)
    tree.write("cpu.cfs_period_us", 100000)
    assert quota_processors((tree.root,)) == processors


# Recorded in a virtual machine: version 1 with a mount for each controller, version 2 without any.
SEPARATE = """32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"""
GIB = 2**30


def test_threads_doctor_and_noise_see_the_same_quota_of_version_1(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.groups("4:memory:/\n2:cpuacct:/\n1:cpu:/case07\n0::/", SEPARATE)
    tree.write(f"{TOP}/cpu/case07/cpu.cfs_quota_us", 100000)
    tree.write(f"{TOP}/cpu/case07/cpu.cfs_period_us", 100000)
    tree.write(f"{TOP}/cpu/cpu.cfs_quota_us", -1)
    tree.write(f"{TOP}/cpu/case07/cpu.stat", "nr_periods 5\nnr_throttled 0\nthrottled_time 0")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 2)

    noise = find_quota(tree.root)
    tree.write(f"{TOP}/cpu/case07/cpu.stat", "nr_periods 9\nnr_throttled 3\nthrottled_time 42")

    assert fingerprint.usable_cores(tree.root) == 1
    assert conditions_of(tree).quota == 1.0
    assert not isinstance(noise, Unavailable)
    assert noise.since_mark() == (QUOTA,)


def test_a_quota_of_a_group_around_the_own_one_limits_the_default_threads(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.groups("1:cpu:/outer/inner\n0::/", SEPARATE)
    for group, quota in {"outer": 100000, "outer/inner": 400000}.items():
        tree.write(f"{TOP}/cpu/{group}/cpu.cfs_quota_us", quota)
        tree.write(f"{TOP}/cpu/{group}/cpu.cfs_period_us", 100000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8)
    assert fingerprint.usable_cores(tree.root) == 1


@pytest.mark.parametrize(
    ("memberships", "mounts", "files", "limit", "left"),
    [
        (  # version 2: the tightest of the groups around, each with what it holds itself
            "0::/outer/inner",
            VERSION_2,
            {
                "outer/memory.max": 4 * GIB,
                "outer/memory.current": 3 * GIB,
                "outer/inner/memory.max": 2 * GIB,
                "outer/inner/memory.current": GIB // 2,
                "outer/inner/memory.high": "max",
            },
            2 * GIB,
            GIB,
        ),
        (  # files that the kernel may drop are no memory that is gone
            "0::/",
            VERSION_2,
            {
                "memory.max": 4 * GIB,
                "memory.current": 3 * GIB,
                "memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}",
            },
            4 * GIB,
            3 * GIB,
        ),
        (
            "4:memory:/job\n1:cpu:/other\n0::/",
            SEPARATE,
            {
                "memory/job/memory.limit_in_bytes": GIB,
                "memory/job/memory.usage_in_bytes": 3 * GIB // 4,
                "memory/memory.limit_in_bytes": 9223372036854771712,
                "memory/memory.usage_in_bytes": 5 * GIB,
            },
            GIB,
            GIB // 4,
        ),
        (  # a group around that a container does not see
            "4:memory:/docker/abc",
            SEPARATE,
            {
                "memory/memory.limit_in_bytes": 9223372036854771712,
                "memory/memory.usage_in_bytes": GIB,
                "memory/memory.stat": f"cache 0\nhierarchical_memory_limit {2 * GIB}",
            },
            2 * GIB,
            GIB,
        ),
        ("0::/", VERSION_2, {"memory.max": "max", "memory.current": GIB}, None, None),
        ("", "", {}, None, None),
    ],
)
def test_memory_limits_of_both_versions_are_read(
    memberships: str,
    mounts: str,
    files: dict[str, object],
    limit: int | None,
    left: int | None,
    tree: Tree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree.groups(memberships, mounts)
    for path, content in files.items():
        tree.write(f"{TOP}/{path}", content)
    groups = memory_groups(tree.root)
    assert (memory_limit(groups), memory_left(groups)) == (limit, left)
    assert conditions_of(tree).memory_limit == limit
    assert fingerprint.available_bytes(tree.root) <= (psutil.virtual_memory().total if left is None else left)
