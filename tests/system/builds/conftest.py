"""A store of builds that the real uv makes, of a stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.builds.provider import build_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_llm.builds import BuildStore
    from tests.conftest import Releases


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(cache: Path, releases: Releases) -> Iterator[BuildStore]:
    found = build_store(cache)
    yield found
    found.close()
