"""Candidate and marks for the tests of every suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm import plugin
from pytest_llm.suite.candidate import candidate_of
from pytest_llm.suite.summary import SUITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.suite.candidate import Candidate

_FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note the suite of each test, for the summary; refuse to run without the plugin."""
    for item in items:
        folder = item.path.parent
        if folder.parent != _FOLDER:
            continue
        if not config.pluginmanager.is_registered(plugin):
            raise pytest.UsageError(
                f"pytest_llm.suite.{folder.name} needs the plugin of pytest-llm-bench: "
                "leave out -p no:llm_bench"
            )
        item.user_properties.append((SUITE, folder.name))


@pytest.fixture(scope="session")
def candidate(request: pytest.FixtureRequest) -> Iterator[Candidate]:
    """The build under test."""
    with candidate_of(request.config) as found:
        yield found
