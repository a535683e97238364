"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session", autouse=True)
def _shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let inner runs of pytest find what was fetched, although pytester gives them another home."""
    cache = os.environ.get("PYTEST_LLM_CACHE") or platformdirs.user_cache_dir("pytest-llm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_LLM_CACHE", cache)
        # An inner run that measures must not wait for the outer one to end.
        patch.setenv("PYTEST_LLM_LOCK", str(tmp_path_factory.mktemp("lock") / "lock"))
        yield


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--llm-bench` and no path, collect what it measures here and nothing else."""
    alone = config.args_source is config.ArgsSource.TESTPATHS
    if not alone or not config.getoption("llm_bench", default=False):
        return None
    here = Path(__file__).parent
    return True if collection_path.parent == here and collection_path.name != "regression" else None
