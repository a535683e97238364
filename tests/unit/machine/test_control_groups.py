"""Which control groups ration this process's processors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.system.cgroups import cpu_groups, quota_processors

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
