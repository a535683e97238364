"""What an item uses of this plugin: markers, and fixtures unless another one of their name hides them.

This module loads in every run of pytest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pytest_llm.plugin.markers import BENCHMARK_MARKER, KNOWN, MEASURED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

_OURS = "pytest_llm.plugin.fixtures"
_PER_TEST = ("llm_bench", "gguf_model")
# Share of the letters of two names that are alike: 0.92 of ``lm_ram`` and ``llm_ram``.
_ALIKE = 0.85


def markers_of(item: pytest.Item) -> tuple[pytest.Mark, ...]:
    """Return an item's markers that are ours, the closest first."""
    return tuple(mark for mark in item.iter_markers() if is_ours(mark.name, item.config))


def is_ours(name: str, config: pytest.Config) -> bool:
    """Return if a marker is ours, or is taken for one: its name is alike, and nobody registered it."""
    return name in KNOWN or (name not in _registered(config) and _is_alike(name))


def _registered(config: pytest.Config) -> set[str]:
    return {line.partition(":")[0].partition("(")[0].strip() for line in config.getini("markers")}


@lru_cache(maxsize=1024)
def _is_alike(name: str) -> bool:
    from difflib import get_close_matches

    plain = name.lower().replace("-", "_")
    if plain.startswith("llm_") or ("_" in plain and f"llm_{plain}" in KNOWN):  # "load_time"
        return True
    return bool(get_close_matches(plain, KNOWN, n=1, cutoff=_ALIKE))


def is_written(mark: pytest.Mark, pytestmark: object) -> bool:
    """Return if a marker is one of those that an attribute ``pytestmark`` holds."""
    written = pytestmark if isinstance(pytestmark, (list, tuple)) else [pytestmark]
    return any(getattr(each, "mark", each) is mark for each in written)


def concerned(item: pytest.Item) -> bool:
    """Return if an item uses a marker or fixture of this plugin."""
    return any(_uses(item, name) for name in _PER_TEST) or bool(markers_of(item))


def is_benchmark(item: pytest.Item) -> bool:
    """Return if an item is measured: it uses the run record or a marker that needs it."""
    return _uses(item, "llm_bench") or any(mark.name in MEASURED for mark in item.iter_markers())


def keep_benchmarks(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the items that are no benchmarks."""
    others = [item for item in items if item.get_closest_marker(BENCHMARK_MARKER) is None]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


def taken_too_widely(item: pytest.Item) -> tuple[str, str] | None:
    """Return a fixture of ours for one test, and one of a wider scope that takes it; None if none does."""
    for name in filter(lambda name: _uses(item, name), _PER_TEST):
        for taker, definitions in _definitions(item).items():
            if any(each.scope != "function" and name in each.argnames for each in definitions):
                return name, taker
    return None


def _uses(item: pytest.Item, name: str) -> bool:
    if name not in getattr(item, "fixturenames", ()):
        return False
    definitions = _definitions(item).get(name, ())
    for each in reversed(definitions):
        if each.func.__module__ == _OURS:
            return True
        if name not in each.argnames:  # another fixture that does not take ours
            return False
    return True


def _definitions(item: pytest.Item) -> dict[str, Sequence[Any]]:
    """Return the fixtures that an item uses, each with those that it overrides, which come first."""
    found: dict[str, Sequence[Any]] = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return found
