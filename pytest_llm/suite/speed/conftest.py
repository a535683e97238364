"""Fixtures and summary of the speed suite."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import LLMBenchError
from pytest_llm.models.footprint import header_of
from pytest_llm.plugin.collect import loaded_by
from pytest_llm.plugin.items import concerned
from pytest_llm.plugin.messages import message
from pytest_llm.plugin.progress import progress_of
from pytest_llm.plugin.state import bench_of
from pytest_llm.records import Command, Workload
from pytest_llm.suite import summary
from pytest_llm.suite.candidate import broken, not_covered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_llm.models.gguf.header import Header
    from pytest_llm.records import LoadOptions, Model, Subject
    from pytest_llm.records.generation import GGUFModel
    from pytest_llm.records.protocols import Engine, Loaded

_NOTE = "llm_speed"
_NAME = "speed"


@dataclass(frozen=True)
class Loads:
    """Loads the model of a test, as often as the test likes, in a process each."""

    subject: Subject
    model: Model
    engine: Engine

    @property
    def header(self) -> Header:
        return header_of(self.model.path)

    def check(self, loaded: Loaded, what: str) -> None:
        """End the test as not covered unless a load is the engine's own, with the options of the test."""
        if isinstance(self.subject.build, Command) or not loaded.coverage(Workload()).load:
            not_covered(f"{what}: {self.subject.build} does not load the model as this suite asks for")

    def options(self, **changes: Any) -> LoadOptions:
        return replace(self.subject.load_options, **changes)

    @contextmanager
    def started(self, **changes: Any) -> Iterator[Loaded]:
        """Start a process that measures; nothing is loaded yet."""
        subject = replace(self.subject, load_options=self.options(**changes))
        with closing(self.engine.start(subject, self.model)) as loaded:
            yield loaded

    @contextmanager
    def generating(self) -> Iterator[GGUFModel]:
        """Start a process that generates; nothing is loaded yet."""
        with closing(self.engine.start_generation(self.subject, self.model)) as loaded:
            yield loaded


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is longer than the context that the model was trained for, before the plan is made."""
    for item in items:
        if item.path.parent.name != _NAME or not concerned(item):
            continue
        try:
            subject = loaded_by(item, bench_of(config))
        except LLMBenchError:
            continue  # said when the test runs
        found = bench_of(config).homes.models.header(subject.model)
        trained, asked = found[1].context_length if found else 0, subject.load_options.n_ctx
        if trained and asked > trained:
            reason = f"not covered: {item.name} takes {asked} tokens, the model was trained for {trained}"
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def loads(request: pytest.FixtureRequest) -> Loads:
    """What loads the model of this test."""
    bench = bench_of(request.config)
    if not bench.settings.bench:
        pytest.skip("part of the speed suite: run it with --llm-bench")
    try:
        subject = loaded_by(request.node, bench)
        model = bench.homes.models.resolve_subject(subject)
        return Loads(subject, model, bench.measuring.engine(subject, progress_of(request.config)))
    except LLMBenchError as error:
        broken(message(error))


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Add a line to the summary."""
    return lambda line: record_property(_NOTE, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write what is no metric, and what is not covered."""
    found = summary.reports(terminalreporter, _NAME)
    if found:
        terminalreporter.write_sep("=", "llm speed")
        summary.write(terminalreporter, "the model", summary.noted(found, _NOTE))
        summary.write(terminalreporter, "not covered", summary.not_covered(found))
