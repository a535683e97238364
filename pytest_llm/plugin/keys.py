"""Keys of collected benchmarks, by which baselines are stored: one test each."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llm.baselines import full_name
from pytest_llm.errors import LLMBenchError
from pytest_llm.plugin.identity import are_repeats, key_of, nodeid_of
from pytest_llm.plugin.state import BENCHMARK, PROBLEM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from pytest_llm.plugin.session import Bench
    from pytest_llm.records import TestKey


def check_keys(items: Sequence[pytest.Item], bench: Bench) -> None:
    """Stash what is wrong with benchmarks that have one key; repeats of a test share one benchmark."""
    found: dict[tuple[Path, TestKey], list[pytest.Item]] = {}
    for item in items:
        with suppress(LLMBenchError):  # reported when the item is read
            folder = bench.homes.of(item.path).baselines_folder
            found.setdefault((folder, key_of(item, bench.homes)), []).append(item)
    for (_, key), (first, *others) in found.items():
        other = next((each for each in others if not _is_repeat(each, first)), None)
        for item in (first, *others):
            if other is not None:
                item.stash.setdefault(PROBLEM, _clash([first, other], key, bench))
            elif BENCHMARK in first.stash:
                item.stash[BENCHMARK] = first.stash[BENCHMARK]


def _is_repeat(item: pytest.Item, first: pytest.Item) -> bool:
    return are_repeats(first, item) and _asks_the_same(first, item)


def _asks_the_same(one: pytest.Item, other: pytest.Item) -> bool:
    mine, theirs = one.stash.get(BENCHMARK, None), other.stash.get(BENCHMARK, None)
    return mine is None or theirs is None or replace(mine, nodeid=theirs.nodeid) == theirs


def _clash(items: Sequence[pytest.Item], key: TestKey, bench: Bench) -> str:
    ids = [nodeid_of(each, bench.homes) for each in items]
    if len({*ids}) == 1:  # a plugin has made several items of one function
        ids = [f"{nodeid} ({each.name})" for nodeid, each in zip(ids, items, strict=True)]
    return f"{' and '.join(ids)} would have the same baselines, those of {full_name(key)}: rename one of them"
