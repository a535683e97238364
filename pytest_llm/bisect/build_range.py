"""Builds of a bisect, oldest first: a list, or all releases or commits between two ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeGuard

from pytest_llm.bisect import commits
from pytest_llm.builds.released import DISTRIBUTION, released_versions
from pytest_llm.errors import UsageError
from pytest_llm.records import Commit, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.records import BuildReference

_PLAIN = re.compile(r"\d+(?:\.\d+)*")
_INSTEAD = "name the builds themselves with --builds"


def builds(
    good: str | None,
    bad: str | None,
    listed: str | None,
    parse: Callable[[str], BuildReference],
    on_progress: Callable[[str], None] = lambda _: None,
    versions: Callable[[], list[str]] | None = None,
) -> list[str]:
    """Return the builds of a bisect, in order, paths absolute.

    Raises:
        UsageError: There are less than two, or one twice, or one of them is no build.
    """
    if listed and not (good or bad):
        chosen: Sequence[BuildReference] = [parse(each.strip()) for each in listed.split(",") if each.strip()]
    elif good and bad and not listed:
        chosen = _between(parse(good), parse(bad), on_progress, versions or released_versions)
    else:
        raise UsageError("name the builds with --good and --bad, or with --builds alone")
    found = [str(each) for each in chosen]
    if len(found) < 2:
        raise UsageError("a bisect takes two builds at least: --builds BUILD,BUILD or --good and --bad")
    twice = [each for index, each in enumerate(found) if each in found[:index]]
    if twice:
        raise UsageError(f"{twice[0]} is given twice: name each build once")
    return found


def _between(
    first: BuildReference,
    last: BuildReference,
    on_progress: Callable[[str], None],
    versions: Callable[[], list[str]],
) -> Sequence[BuildReference]:
    if _is_plain(first) and _is_plain(last):
        return releases(first, last, versions())
    if isinstance(first, Commit) and isinstance(last, Commit):
        found = commits.between(first, last)
        on_progress(str(found))
        return found.builds
    return [first, last]


def _is_plain(build: BuildReference) -> TypeGuard[Release]:
    return isinstance(build, Release) and _PLAIN.fullmatch(build.version) is not None


def releases(good: Release, bad: Release, versions: Sequence[str]) -> list[Release]:
    """Return all releases from one to another, oldest first, without trial releases (letters in them)."""
    if good.settings != bad.settings:
        raise UsageError(f"{good} and {bad} are built otherwise: give both the same settings, or {_INSTEAD}")
    known = {_order(each): each for each in versions if _PLAIN.fullmatch(each)}
    for end in (good, bad):
        if _order(end.version) not in known:
            raise UsageError(f"there is no {DISTRIBUTION} {end.version} in the package index; {_INSTEAD}")
    first, last = _order(good.version), _order(bad.version)
    if first >= last:
        raise UsageError(
            f"--good {good.version} is not older than --bad {bad.version}: give the older one as --good"
        )
    return [
        Release(good.engine, known[each], good.settings) for each in sorted(known) if first <= each <= last
    ]


def _order(version: str) -> tuple[int, ...]:
    numbers = [int(each) for each in version.split(".")]
    while numbers and not numbers[-1]:  # 0.3 and 0.3.0 are one release
        numbers.pop()
    return tuple(numbers)
