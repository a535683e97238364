"""Real engines, servers, builds, kills, disks and simulations: slow, but for a handful."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)  # before ``-m`` is applied
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("quick") is None:
            item.add_marker("slow")
