"""Real engines, servers, builds, kills, disks and simulations: slow, but for a handful."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file that has no quick test if slow ones are left out anyway: they are long to rewrite."""
    if config.option.markexpr != "not slow" or not collection_path.name.startswith("test_"):
        return None
    return None if "mark.quick" in collection_path.read_text(encoding="utf-8") else True


@pytest.hookimpl(tryfirst=True)  # before ``-m`` is applied
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("quick") is None:
            item.add_marker("slow")
