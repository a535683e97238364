"""The candidate for every test, and what is told of it at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.suite import summary
from pytest_llm.suite.memory.loads import device_of
from pytest_llm.suite.provided import candidate_of, need_the_plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_llm.suite.contract.candidate import Candidate

_NAME = "memory"
# What tests note down for the summary; plain texts, which travel between processes.
SAID = "llm_memory_said"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to run without the plugin; mark what is of this suite."""
    need_the_plugin(config, _NAME)
    summary.mark(items, Path(__file__).parent, _NAME)


@pytest.fixture(scope="session")
def candidate(request: pytest.FixtureRequest) -> Iterator[Candidate]:
    """The build under test, made first if need be."""
    with candidate_of(request.config, _NAME) as found:
        yield found


@pytest.fixture(scope="session")
def device(candidate: Candidate) -> str:
    """The device that layers go to; without one, the test is not covered."""
    return device_of(candidate)


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Note a line for the summary."""
    return lambda line: record_property(SAID, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was found beside what was predicted, and what could not be looked at."""
    found = summary.reports(terminalreporter, _NAME)
    if found:
        terminalreporter.write_sep("=", "llm memory")
        summary.tell(terminalreporter, "predicted and found", summary.noted(found, SAID))
        summary.tell(terminalreporter, "not covered", summary.not_covered(found))
