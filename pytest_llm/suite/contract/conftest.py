"""The candidate for every test, and what is told of it at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.suite import summary
from pytest_llm.suite.provided import candidate_of, need_the_plugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.suite.contract.candidate import Candidate

_NAME = "contract"
# What tests note down for the summary; plain texts, which travel between processes.
BUILD = "llm_contract_build"
OLDER_NAME = "llm_contract_older_name"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to run without the plugin; mark what is of this suite."""
    need_the_plugin(config, _NAME)
    summary.mark(items, Path(__file__).parent, _NAME)


@pytest.fixture(scope="session")
def candidate(request: pytest.FixtureRequest) -> Iterator[Candidate]:
    """The build under test, made first if need be."""
    with candidate_of(request.config, _NAME) as found:
        yield found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one place what the build lacks, by name."""
    found = summary.reports(terminalreporter, _NAME)
    if not found:
        return
    build = ", ".join(summary.noted(found, BUILD)) or "no build"
    terminalreporter.write_sep("=", f"llm contract: {build}")
    older = summary.noted(found, OLDER_NAME)
    if older:
        terminalreporter.write_line(f"under older names: {', '.join(older)}")
    summary.tell(terminalreporter, "known faults", summary.known_faults(found))
    summary.tell(terminalreporter, "not covered", summary.not_covered(found))
