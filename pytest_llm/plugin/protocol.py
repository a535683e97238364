"""How a benchmark runs: measured before its test's time limits begin, its outcome taken from all reports."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.checks import explain, failing
from pytest_llm.errors import LLMBenchError
from pytest_llm.plugin import late
from pytest_llm.plugin.items import is_benchmark
from pytest_llm.plugin.messages import message
from pytest_llm.plugin.progress import progress_of
from pytest_llm.plugin.state import BENCHMARK, EXPLAINED, FINDING, PROBLEM, UNMEASURED, bench_of
from pytest_llm.system.text import clean_lines

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from pytest_llm.checks.findings import Finding
    from pytest_llm.plugin.session import Bench

_TIMER: pytest.StashKey[Any] = pytest.StashKey()  # settings of pytest-timeout's limit that holds now
# Set-up hooks of these packages do not skip, but for pytest's own that evaluates markers.
_KNOWN = {"_pytest", "pytest_benchmark", "pytest_llm"}


class Protocol:
    """A plugin for one run, registered last, so that its wrapper is outside of those that limit time.

    Attributes:
        ended: How many benchmarks ended with each outcome.
    """

    def __init__(self, bench: Bench) -> None:
        """Begin without a test."""
        self.ended: Counter[str] = Counter()
        self._bench = bench
        self._reports: list[pytest.TestReport] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Measure a benchmark before its set-up, and note the test's outcome when its protocol has ended."""
        if _is_due(item):
            measure(item, self._bench)
        self._reports.clear()
        try:
            return (yield)
        finally:
            self._note_outcome(item)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: object) -> None:
        """Note the limit that pytest-timeout sets, for :func:`time_limit_paused`."""
        item.stash[_TIMER] = settings

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a report of the test that runs; subtests have reports of their own."""
        self._reports.append(report)

    def _note_outcome(self, item: pytest.Item) -> None:
        outcome = _outcome(self._reports)
        self.ended[outcome] += is_benchmark(item)
        if BENCHMARK in item.stash:
            by_verdict = EXPLAINED in item.stash and sum(each.failed for each in self._reports) < 2
            self._bench.note_outcome(item.stash[BENCHMARK], outcome, failed_by_verdict=by_verdict)


def _outcome(reports: Sequence[pytest.TestReport]) -> str:
    """Return how a test ended; "" if it did not."""
    failed = {each.when for each in reports if each.failed}
    if failed:
        return "failed" if "call" in failed else "error"
    ended = [each.outcome for each in reports if each.when == "call" or each.skipped]
    return ended[-1] if ended and ended[-1] in ("passed", "skipped") else ""


def _is_due(item: pytest.Item) -> bool:
    """Return if a benchmark can be measured before its set-up, because nothing there may skip it."""
    if BENCHMARK not in item.stash or PROBLEM in item.stash:
        return False
    if FINDING in item.stash or UNMEASURED in item.stash:  # a plugin repeats the test
        return False
    functions = [each.function for each in item.ihook.pytest_runtest_setup.get_hookimpls()]
    packages = {getattr(each, "__module__", "").partition(".")[0] for each in functions}
    return packages <= _KNOWN and not _skipped_by_marker(item)


def _skipped_by_marker(item: pytest.Item) -> bool:
    skipping: Any = item.config.pluginmanager.get_plugin("skipping")
    if skipping is None:
        return False
    try:
        skipping.pytest_runtest_setup(item)
    except (pytest.skip.Exception, pytest.fail.Exception, pytest.xfail.Exception):
        return True
    return False


def measure(item: pytest.Item, bench: Bench) -> None:
    """Stash what was found, or the error; only what ends the whole run is raised."""
    try:
        finding = bench.measure(item.stash[BENCHMARK], progress_of(item.config))
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as error:
        item.stash[UNMEASURED] = error
        return
    late.note(item, finding)


def measured(item: pytest.Item, bench: Bench) -> Finding:
    """Return what was found; measure now what no earlier moment was right for.

    Raises:
        pytest.fail.Exception: It could not be measured.
    """
    if FINDING not in item.stash and UNMEASURED not in item.stash:
        with time_limit_paused(item):
            measure(item, bench)
    error = item.stash.get(UNMEASURED, None)
    if isinstance(error, LLMBenchError):
        # `pytest.fail` would report two exceptions.
        raise pytest.fail.Exception(message(error), pytrace=False) from None
    if error is not None:
        raise error
    return item.stash[FINDING]


def fail_by_verdict(item: pytest.Item) -> None:
    """Fail a measured test that has a failing verdict.

    Raises:
        pytest.fail.Exception: It has one.
    """
    text = _failing_verdicts(item)
    if text:
        item.stash[EXPLAINED] = pytest.fail.Exception(text, pytrace=False)
        raise item.stash[EXPLAINED]


def beside(item: pytest.Item, call: pytest.CallInfo[None]) -> list[tuple[str, str]]:
    """Return the failing verdicts of a measured test as a section, if its body failed for another reason."""
    if call.excinfo is None or call.excinfo.value is item.stash.get(EXPLAINED, None):
        return []
    if EXPLAINED in item.stash:
        del item.stash[EXPLAINED]  # a unittest.TestCase reports its own failure instead
    text = "" if isinstance(call.excinfo.value, pytest.skip.Exception) else _failing_verdicts(item)
    return [("llm-bench, beside the failure above", text)] if text else []


def _failing_verdicts(item: pytest.Item) -> str:
    bench, finding = bench_of(item.config), item.stash[FINDING]
    if not failing(finding, bench.settings.failing):
        return ""
    text = explain(finding, bench.settings.failing, qualified=bench.findings.qualified_since is not None)
    return clean_lines(text)  # names of builds, also of stored ones, stand in it


@contextmanager
def time_limit_paused(item: pytest.Item) -> Iterator[None]:
    """Stop pytest-timeout's clock for a test; it starts anew afterwards."""
    settings = item.stash.get(_TIMER, None)
    if settings is None:
        yield
        return
    item.ihook.pytest_timeout_cancel_timer(item=item)
    try:
        yield
    finally:
        item.ihook.pytest_timeout_set_timer(item=item, settings=settings)
