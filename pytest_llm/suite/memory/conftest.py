"""Fixtures and summary of the memory suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.offload_check import devices_used
from pytest_llm.errors import EngineError
from pytest_llm.plugin.messages import message
from pytest_llm.suite import summary
from pytest_llm.suite.candidate import broken, not_covered
from pytest_llm.suite.memory.loads import loaded_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.suite.candidate import Candidate


@pytest.fixture(scope="session")
def candidate(candidate: Candidate) -> Candidate:
    """The build under test; every test fails if it does not start, as no test here is about that."""
    try:
        candidate.describe()
    except EngineError as error:
        broken(message(error))
    return candidate


@pytest.fixture(scope="session")
def device(candidate: Candidate) -> str:
    """The device for layers; without one, the test is not covered."""
    used = devices_used(loaded_with(candidate, n_gpu_layers=-1).messages)
    if not used:
        not_covered("layers on a device: the build has no GPU backend, or it finds no device here")
    return used[0]


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Add a line to the summary."""
    return lambda line: record_property(summary.MEMORY, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write predicted and found bytes, and what is not covered."""
    found = summary.reports(terminalreporter, "memory")
    if found:
        terminalreporter.write_sep("=", "llm memory")
        summary.write(terminalreporter, "predicted and found", summary.noted(found, summary.MEMORY))
        summary.write(terminalreporter, "not covered", summary.not_covered(found))
