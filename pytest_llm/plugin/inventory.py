"""Benchmarks of one collection, if it was whole, and baselines of tests that no longer exist."""

from __future__ import annotations

import glob
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.baselines import Collected, OpenTest, full_name
from pytest_llm.errors import LLMBenchError
from pytest_llm.plugin.identity import key_of
from pytest_llm.plugin.items import is_benchmark
from pytest_llm.plugin.state import PROBLEM, bench_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llm.plugin.homes import Home
    from pytest_llm.records import TestKey

# Options that keep files from being collected, so that their tests are unknown.
_NARROWING = {
    "lf": "--last-failed",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
    "pyargs": "--pyargs",
}

_NAME = "llm_bench_collected"
# More would push what was measured off the screen; the command shows all.
_MOST = 5


class CollectionRecord:
    """A plugin that records one collection.

    Hooks may make an item a benchmark until the collection ends, so they are told apart after that.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Begin with nothing collected."""
        self._deselected: list[pytest.Item] = []
        self._config = config
        self._items: list[pytest.Item] = []
        self._skipped: set[str] = set()
        self._failed = ""
        self._unfinished = "the collection did not end"

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what was not collected."""
        path = Path(report.nodeid.partition("::")[0])
        if report.skipped:
            self._skipped.add(path.parent.name if path.stem == "__init__" else path.stem)
        elif report.failed and not self._failed:
            self._failed = f"{report.nodeid or 'the root'} cannot be collected: {_last_line(report)}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note what was collected, before anyone selects among it."""
        self._items = list(items)
        self._unfinished = ""

    def pytest_deselected(self, items: Iterable[pytest.Item]) -> None:
        """Note which items will not run."""
        self._deselected += items

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """Let the stores tell which of their tests no longer exist."""
        bench = bench_of(self._config)
        common = bench.settings.baselines
        options = f" --baselines {shlex.quote(str(common))}" if common is not None else ""
        for home in {bench.homes.called(each.home) for each in bench.plan.benchmarks}:
            home.baselines.expect(partial(self._exists, home), options)

    def _exists(self, home: Home, key: TestKey) -> bool:
        """Return if a stored test exists, or may exist without having been collected."""
        homes = bench_of(self._config).homes
        items = [
            item
            for item in dict.fromkeys([*self._items, *self._deselected])
            if homes.of(item.path) is home and homes.module(item.path) == key.module
        ]
        if not items:
            return not key.module.endswith(".py") or (home.folder / key.module).exists()
        found = [key_of(item, homes) for item in items if is_benchmark(item)]
        if any(each.name == key.name for each in found):  # of some, a part of the parameters was asked for
            return key in found or any("::" in each for each in self._config.args)
        return _defines(items[0].getparent(pytest.Module), key.name)

    @property
    def deselected(self) -> int:
        """How many benchmarks will not run."""
        return sum(map(is_benchmark, self._deselected))

    def collected(self) -> Collected:
        """Return what was collected so far."""
        items = dict.fromkeys([*self._items, *self._deselected])
        homes = bench_of(self._config).homes
        folder = homes.root.baselines_folder
        ours = [
            item for item in items if is_benchmark(item) and homes.of(item.path).baselines_folder == folder
        ]
        keys = {item: key_of(item, homes) for item in ours}
        return Collected(
            tuple(keys.values()),
            tuple(OpenTest(key.module, key.name) for item, key in keys.items() if _is_open(item)),
            tuple(sorted(self._skipped)),
            self._failed or self._unfinished or _narrowed(self._config),
        )


def record_collection(config: pytest.Config) -> None:
    """Record the collection, for :func:`unknown_baselines`."""
    config.pluginmanager.register(CollectionRecord(config), _NAME)


def deselected(config: pytest.Config) -> int:
    """Return how many benchmarks will not run, as far as the collection was recorded."""
    record = config.pluginmanager.get_plugin(_NAME)
    return record.deselected if isinstance(record, CollectionRecord) else 0


def unknown_baselines(config: pytest.Config, home: Home) -> list[str]:
    """Return a line if there are baselines of tests that no longer exist; none if this run cannot know."""
    record = config.pluginmanager.get_plugin(_NAME)
    if not isinstance(record, CollectionRecord) or record.deselected:
        return []
    try:
        collected = record.collected()
        if collected.partial or not collected.keys:
            return []
        unknown = collected.unknown(home.baselines.unknown(collected.keys))
    except LLMBenchError as error:
        return [f"baselines of tests that no longer exist cannot be listed: {error}"]
    if not unknown:
        return []
    names = [full_name(key) for key in unknown[:_MOST]]
    more = [f"{len(unknown) - _MOST} more"] if len(unknown) > _MOST else []
    of = "1 test that no longer exists" if len(unknown) == 1 else f"{len(unknown)} tests that no longer exist"
    return [
        f"there are baselines of {of}: {', '.join([*names, *more])}; "
        "list and remove them with pytest-llm baselines prune, or move them with pytest-llm baselines move"
    ]


def _is_open(item: pytest.Item) -> bool:
    """Whether it may have other parameters: once its markers are mended, or for other ``--llm-model``."""
    if PROBLEM in item.stash:
        return True
    marker = item.get_closest_marker("llm_model")
    return marker is None or not (marker.args or "name_or_path" in marker.kwargs)


def _narrowed(config: pytest.Config) -> str:
    given = [flag for name, flag in _NARROWING.items() if config.getoption(name, None)]
    if given:
        return f"{given[0]} leaves files out"
    asked = [Path(config.invocation_params.dir, arg.partition("::")[0]) for arg in config.args]
    whole = [path.resolve() for path, arg in zip(asked, config.args, strict=True) if "::" not in arg]
    for root in _roots(config):
        if not any(each == root or each in root.parents for each in whole):
            return f"{config.args[0]} is not all of {root}"
    return ""


def _defines(module: pytest.Module | None, name: str) -> bool:
    found: object = getattr(module, "obj", None)
    for part in name.split("::"):
        found = getattr(found, part, None)
    return found is not None


def _roots(config: pytest.Config) -> list[Path]:
    """Return where all tests of the project are: what pytest takes where no path is given."""
    patterns = [str(config.rootpath / each) for each in config.getini("testpaths")]
    # As pytest does it; a path's own glob cannot climb.
    found = [Path(each) for pattern in patterns for each in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    return [each.resolve() for each in found or [config.rootpath]]


def _last_line(report: pytest.CollectReport) -> str:
    lines = [line.strip() for line in report.longreprtext.splitlines() if line.strip()]
    errors = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
    return (errors or lines or ["no reason given"])[-1]
