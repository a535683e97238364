"""The candidate for every test, and what is told of it at the end."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm import engines, plugin
from pytest_llm.engines.llama_cpp_python import LlamaCppPython
from pytest_llm.plugin.progress import Progress
from pytest_llm.plugin.state import bench_of
from pytest_llm.providing import Provider
from pytest_llm.suite.contract.candidate import Candidate, not_covered, told

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent
_MODEL = "smollm2-135m"
_NOT_COVERED = "Skipped: not covered: "
# What tests note down for the summary; plain texts, which travel between processes.
SUITE = "llm_suite"
BUILD = "llm_contract_build"
OLDER_NAME = "llm_contract_older_name"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to run without the plugin, whose options say what is tested; mark what is of this suite."""
    if not config.pluginmanager.is_registered(plugin):
        raise pytest.UsageError(
            "pytest_llm.suite.contract needs the plugin of pytest-llm-bench: leave out -p no:llm_bench"
        )
    for item in items:
        if item.path.parent == _HERE:
            item.user_properties.append((SUITE, "contract"))


@pytest.fixture(scope="session")
def candidate(request: pytest.FixtureRequest) -> Iterator[Candidate]:
    """The build under test, made first if need be."""
    bench = bench_of(request.config)
    reference = bench.settings.candidate
    if reference.engine != engines.DEFAULT:
        not_covered(f"the contract is one of {engines.DEFAULT}, the candidate is {reference}")
    model = (*bench.settings.models, _MODEL)[0]
    with closing(Provider(bench.settings.cache, bench.settings.timeout)) as provider:
        with told():
            engine = provider.engine(reference, Progress(request.config).preparing)
        if not isinstance(engine, LlamaCppPython):
            not_covered(
                f"the contract is one of {engines.DEFAULT}, which cannot load the library of {reference}"
            )
        yield Candidate(engine, reference, bench.models, model)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one place what the build lacks, by name."""
    reports = list(_reports(terminalreporter))
    if not reports:
        return
    terminalreporter.write_sep("=", f"llm contract: {', '.join(_noted(reports, BUILD)) or 'no build'}")
    older = _noted(reports, OLDER_NAME)
    if older:
        terminalreporter.write_line(f"under older names: {', '.join(older)}")
    for title, lines in (("known faults", map(_known, reports)), ("not covered", map(_not_covered, reports))):
        told = sorted({line for line in lines if line})
        if told:
            terminalreporter.write_line("\n  ".join([f"{title}:", *told]))


def _reports(terminalreporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    """Yield how the tests of this suite ended, those of any other left out."""
    for outcome in ("passed", "failed", "skipped", "xfailed"):
        for report in terminalreporter.stats.get(outcome, ()):
            if isinstance(report, pytest.TestReport) and (SUITE, "contract") in _properties(report):
                yield report


def _noted(reports: list[pytest.TestReport], name: str) -> list[str]:
    return [str(value) for report in reports for key, value in _properties(report) if key == name]


def _properties(report: pytest.TestReport) -> list[tuple[str, object]]:
    return [(key, value) for key, value in report.user_properties]  # lists, where they have travelled


def _known(report: pytest.TestReport) -> str:
    """Return what was expected to be broken and is, "" if nothing."""
    return str(getattr(report, "wasxfail", "")).removeprefix("reason: ")


def _not_covered(report: pytest.TestReport) -> str:
    """Return why a test was skipped, "" if it was not."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return ""
    return report.longrepr[2].removeprefix(_NOT_COVERED)
