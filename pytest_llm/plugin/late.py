"""What a test asks for after the plan was made: markers added to it, and fixtures that it requests."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, SupportsIndex

import pytest

from pytest_llm.plugin import markers
from pytest_llm.plugin.items import is_ours, is_written, markers_of
from pytest_llm.plugin.state import BENCHMARK, FINDING, FUNCTIONAL, MARKED, READ, bench_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_llm.checks.findings import Finding
    from pytest_llm.errors import LLMBenchError
    from pytest_llm.records import Subject

# That a test has ended and every marker was judged.
_CHECKED: pytest.StashKey[bool] = pytest.StashKey()

_PYTEST = str(Path(pytest.__file__).parent.parent / "_pytest")
_PLACE = "add it in pytest_collection_modifyitems, or write it on the test, its class or its module"
# What to do instead if a fixture of a wider scope takes one of ours.
WIDER = {
    "gguf_model": (
        "gguf_model belongs to one test, whose markers name it; for a module or a whole run, take llm_load: "
        "def bot(llm_load): return llm_load('smollm2-135m', n_ctx=2048)"
    ),
    "llm_bench": "llm_bench is the run record of one test: take it in the test, or in a fixture of its scope",
}


class _TracedMarkers(list[pytest.Mark]):
    """Markers of a node; those that are added from now on have a place in the source."""

    def __init__(self, marks: Iterable[pytest.Mark]) -> None:
        super().__init__(marks)
        self.places: list[tuple[pytest.Mark, str]] = []

    def append(self, mark: pytest.Mark) -> None:
        self.places.append((mark, _caller()))
        super().append(mark)

    def insert(self, index: SupportsIndex, mark: pytest.Mark) -> None:
        self.places.append((mark, _caller()))
        super().insert(index, mark)

    def extend(self, marks: Iterable[pytest.Mark]) -> None:
        for mark in marks:
            self.append(mark)


def _caller() -> str:
    """Return the function that adds a marker, with its file and line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PYTEST, __file__)):
        frame = frame.f_back
    return f"{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"


def trace(item: pytest.Item) -> None:
    """Note from now on where markers are added to an item, its class or its module."""
    for node in item.listchain():
        if not isinstance(node.own_markers, _TracedMarkers):
            node.own_markers = _TracedMarkers(node.own_markers)


def check_modules(session: pytest.Session) -> None:
    """Refuse markers of modules whose ``pytestmark`` pytest never reads: conftest files and packages.

    Raises:
        pytest.UsageError: There are some.
    """
    tested = [getattr(node, "module", None) for node in {item.parent for item in session.items}]
    packages = [sys.modules.get(getattr(module, "__package__", None) or "") for module in tested]
    for module in [*session.config.pluginmanager.get_plugins(), *packages]:
        if not isinstance(module, ModuleType) or module in tested:
            continue
        written = getattr(module, "pytestmark", ())
        for mark in written if isinstance(written, (list, tuple)) else [written]:
            if is_ours(str(getattr(mark, "name", "")), session.config):
                raise pytest.UsageError(
                    f"{module.__file__}: pytestmark marks no test there, so {mark.name} has no effect: write "
                    "it in the test modules, or add it to their tests in pytest_collection_modifyitems"
                )


def check_definition(metafunc: pytest.Metafunc) -> None:
    """Fail the collection of a test if a hook added markers to its definition, which no test inherits."""
    written = getattr(metafunc.function, "pytestmark", ())
    for mark in metafunc.definition.own_markers:
        if is_ours(mark.name, metafunc.config) and not is_written(mark, written):
            name = metafunc.function.__name__
            text = f"{mark.name} was added to the definition of {name}, whose tests do not get it: {_PLACE}"
            raise pytest.fail.Exception(text, pytrace=False)


def check_set_up(item: pytest.Item) -> None:
    """Fail a test to which a gate, a workload or a model was added, before its body runs."""
    item.stash[_CHECKED] = False
    _refuse(item, [mark for mark in _added(item) if not _is_limit(mark)])


def check_call(item: pytest.Item) -> None:
    """Judge limits that were added by what was measured; any other marker fails the test."""
    check_added(item)
    item.stash[_CHECKED] = True


def check_added(item: pytest.Item) -> None:
    """Judge limits that an item got since its markers were read, and refuse other markers."""
    judge_limits(item)
    _refuse(item, _added(item))


def judge_limits(item: pytest.Item) -> None:
    """Judge limits that were added, if anything was measured for the test."""
    if FINDING not in item.stash:
        return
    limits = [mark for mark in _added(item) if _is_limit(mark)]
    if limits:
        _judge(item, item.stash[FINDING], limits)
        item.stash[READ] = (*item.stash.get(READ, ()), *limits)


def check_tear_down(item: pytest.Item) -> None:
    """Fail a test that passed, and to which markers were added after it was judged."""
    if item.stash.get(_CHECKED, False):
        _refuse(item, _added(item))


def _added(item: pytest.Item) -> list[pytest.Mark]:
    """Return the markers of ours that an item got since they were last read."""
    read = item.stash.get(READ, ())
    return [mark for mark in markers_of(item) if not any(mark is each for each in read)]


def _is_limit(mark: pytest.Mark) -> bool:
    return markers.MARKERS.get(mark.name) in markers.LIMITS


def _refuse(item: pytest.Item, added: Sequence[pytest.Mark]) -> None:
    refused = [mark for mark in added if mark.name != markers.BENCHMARK_MARKER or MARKED not in item.stash]
    if refused:
        text = f"{refused[0].name} was added{_where(item, refused[0])} after the plan was made: {_PLACE}"
        raise pytest.fail.Exception(text, pytrace=False)


def _where(item: pytest.Item, mark: pytest.Mark) -> str:
    lists = [node.own_markers for node in item.listchain()]
    places = [place for each in lists if isinstance(each, _TracedMarkers) for place in each.places]
    return next((f" by {where}," for found, where in places if found is mark), "")


def _judge(item: pytest.Item, finding: Finding, added: Sequence[pytest.Mark]) -> None:
    from pytest_llm.checks import judge_limits
    from pytest_llm.errors import LLMBenchError

    assert finding.run is not None
    limits = {limit.metric.name: limit for limit in finding.benchmark.limits}
    for mark in added:
        try:
            limit = markers.read(mark.name, mark.args, mark.kwargs)
        except LLMBenchError as error:
            raise _failed(error) from None
        name = limit.metric.name
        if limit.metric.slope and name not in limits:  # only a plan with such a limit watches for it
            _refuse(item, [mark])
        limits[name] = markers.together(mark.name, limits.get(name, limit), limit)
    benchmark = replace(finding.benchmark, limits=tuple(limits.values()))
    judgements = judge_limits(finding.run, benchmark.limits)
    note(item, replace(finding, benchmark=benchmark, judgements=judgements))


def measure(item: pytest.Item) -> Finding:
    """Measure a test that requests ``llm_bench`` while it runs: the default workload, without a reference."""
    from pytest_llm.checks.findings import Finding
    from pytest_llm.errors import LLMBenchError
    from pytest_llm.plugin import collect
    from pytest_llm.plugin.progress import progress_of
    from pytest_llm.plugin.protocol import time_limit_paused

    bench = bench_of(item.config)
    if not bench.settings.bench:
        pytest.skip("a benchmark: run it with --llm-bench")
    try:
        asked = collect.benchmark_of(item, bench)
        # Markers of these would have made it a benchmark of the plan.
        benchmark = replace(asked, limits=(), gates=(), claims=(), output=None)
        item.stash[BENCHMARK] = benchmark
        _count_as_benchmark(item)
        with time_limit_paused(item):
            finding = bench.measure_solo(benchmark, progress_of(item.config))
    except LLMBenchError as error:
        if BENCHMARK in item.stash:
            bench.findings.add(Finding(item.stash[BENCHMARK], problem=str(error)))
        raise _failed(error) from None
    return note(item, finding)


def _count_as_benchmark(item: pytest.Item) -> None:
    item.add_marker(markers.BENCHMARK_MARKER)
    ours = [mark for mark in markers_of(item) if mark.name == markers.BENCHMARK_MARKER]
    item.stash[READ] = (*item.stash.get(READ, ()), *ours)


def subject_of(item: pytest.Item) -> Subject:
    """Return what ``gguf_model`` loads for an item.

    Raises:
        LLMBenchError: The item's markers make no sense.
    """
    from pytest_llm.plugin import collect

    if FUNCTIONAL in item.stash:
        return item.stash[FUNCTIONAL]
    if BENCHMARK in item.stash:
        return item.stash[BENCHMARK].subject
    return collect.loaded_by(item, bench_of(item.config))


def note(item: pytest.Item, finding: Finding) -> Finding:
    """Note what was found for an item: for its hooks, its report and the results."""
    from pytest_llm.plugin.messages import properties

    item.stash[FINDING] = finding
    bench_of(item.config).findings.add(finding)
    new = dict(properties(finding))
    item.user_properties[:] = [each for each in item.user_properties if each[0] not in new] + [*new.items()]
    return finding


def _failed(error: LLMBenchError) -> BaseException:
    from pytest_llm.plugin.messages import message

    # `pytest.fail` would report two exceptions.
    return pytest.fail.Exception(message(error), pytrace=False)


def scope_hint(error: BaseException) -> str:
    """Return what to do if a fixture of a wider scope took one of ours, "" if it was anything else."""
    text = str(error)
    if not isinstance(error, pytest.fail.Exception) or not text.startswith("ScopeMismatch"):
        return ""
    return next((hint for name, hint in WIDER.items() if f" fixture {name} " in text), "")
