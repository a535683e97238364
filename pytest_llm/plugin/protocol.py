"""How a benchmark runs: measured before its test's time limits begin, its outcome taken from all reports."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.checks import explain, failing
from pytest_llm.errors import LLMBenchError
from pytest_llm.plugin import late, markers
from pytest_llm.plugin.messages import message
from pytest_llm.plugin.progress import progress_of
from pytest_llm.plugin.state import BENCHMARK, EXPLAINED, FINDING, PROBLEM, UNMEASURED, bench_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.checks.findings import Finding
    from pytest_llm.plugin.session import Bench

_TIMER: pytest.StashKey[Any] = pytest.StashKey()  # settings of pytest-timeout's limit that holds now
# Set-up hooks of these do not skip, but for pytest's own that evaluates markers.
_KNOWN = ("_pytest", "pytest_benchmark", "pytest_llm")


class Reports:
    """A plugin that keeps the reports of the test that runs; subtests have reports of their own.

    Attributes:
        seen: The reports.
        ended: How many benchmarks ended with each outcome.
    """

    def __init__(self) -> None:
        """Begin without reports."""
        self.seen: list[pytest.TestReport] = []
        self.ended: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a report."""
        self.seen.append(report)

    def outcome(self) -> str:
        """Return how the test ended; "" if it did not."""
        failed = {each.when for each in self.seen if each.failed}
        if failed:
            return "failed" if "call" in failed else "error"
        ended = [each for each in self.seen if each.when == "call" or each.skipped]
        return ended[-1].outcome if ended and ended[-1].outcome in ("passed", "skipped") else ""

    def note(self, item: pytest.Item, bench: Bench) -> None:
        """Note the outcome of a test."""
        self.ended[self.outcome()] += markers.is_benchmark(item)
        if BENCHMARK in item.stash:
            failed = sum(each.failed for each in self.seen)
            by_verdict = failed < 2 and EXPLAINED in item.stash
            bench.note_outcome(item.stash[BENCHMARK], self.outcome(), failed_by_verdict=by_verdict)


def is_due(item: pytest.Item) -> bool:
    """Return if a benchmark can be measured before its set-up, because nothing there may skip it."""
    if BENCHMARK not in item.stash or PROBLEM in item.stash or FINDING in item.stash:
        return False
    hooks = item.ihook.pytest_runtest_setup.get_hookimpls()
    if any(not each.function.__module__.startswith(_KNOWN) for each in hooks):
        return False
    return not _skipped_by_marker(item)


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
    return explain(finding, bench.settings.failing, qualified=bench.findings.qualified_since is not None)


def note_time_limit(item: pytest.Item, settings: object) -> None:
    """Note the limit that pytest-timeout sets."""
    item.stash[_TIMER] = settings


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
