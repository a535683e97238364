"""A plugin of its own, for ``pytest-llm``: writes which benchmarks pytest collected, as JSON.

It is named with ``-p``, so that nobody else has its option.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from pytest_llm.plugin.inventory import CollectionRecord
from pytest_llm.records.serialization import encode

_RECORD: pytest.StashKey[CollectionRecord] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where to write."""
    parser.addoption("--llm-write-collected", metavar="FILE", required=True, help=argparse.SUPPRESS)


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the collection."""
    config.stash[_RECORD] = CollectionRecord(config)
    config.pluginmanager.register(config.stash[_RECORD])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was collected, whatever became of it."""
    collected = session.config.stash[_RECORD].collected()
    path = Path(session.config.getoption("--llm-write-collected"))
    path.write_text(json.dumps(encode(collected)), encoding="utf-8")
