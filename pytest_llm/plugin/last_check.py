"""The last check of a run: verdicts are judged again from what is stored, and those not reported are logged.

A plugin, an option or a hook may leave out the phase in which a verdict fails its test, or the report of that
phase. What no report shows is logged as a failed report when all tests have ended; the exit status follows.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.checks import explain, failing
from pytest_llm.plugin import late
from pytest_llm.plugin.state import BENCHMARK, FINDING, PROBLEM, UNMEASURED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from pytest_llm.checks.findings import Finding
    from pytest_llm.plugin.session import Bench

# A test skipped itself or was expected to fail, in its own words.
_EXCUSED: pytest.StashKey[bool] = pytest.StashKey()


class LastCheck:
    """A plugin for one run, registered after the collection, so that its wrappers are the outermost."""

    def __init__(self, bench: Bench, items: Sequence[pytest.Item]) -> None:
        """Take the benchmarks that were selected; later changes of pytest's own list select nothing."""
        self._bench = bench
        self._items = [*items]
        self._logged: list[pytest.Item] = []
        self._reports: dict[str, list[pytest.TestReport]] = defaultdict(list)

    def pytest_deselected(self, items: Iterable[pytest.Item]) -> None:
        """Leave out what is deselected in the open."""
        left_out = {*items}
        self._items = [item for item in self._items if item not in left_out]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note that a test skips itself, or says that it fails as expected."""
        report = yield
        raised = call.excinfo.value if call.excinfo is not None else None
        if isinstance(raised, (pytest.skip.Exception, pytest.xfail.Exception)):
            item.stash[_EXCUSED] = True
        return report

    @pytest.hookimpl(trylast=True)  # as other plugins have left it
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the reports of each test."""
        self._reports[report.nodeid].append(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Log what no report shows, once the tests have ended."""
        try:
            result = yield
        except BaseException:
            self._log(item for item in self._items if self._has_ended(item))
            raise
        self._log(self._items)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # before the exit status is set for other reasons
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Keep the run from ending green if a verdict fails, or if something asked for was not judged."""
        begun = self._bench.begun  # a command of another plugin may run no tests
        broken = [item for item in self._items if begun and self._problem(item)]
        if broken:
            self._bench.ending.least_status = pytest.ExitCode.TESTS_FAILED
        green = self._bench.ending.status(session.exitstatus) != session.exitstatus
        unreported = [
            item.nodeid for item in broken if not self._has_failed(item) and (green or item in self._logged)
        ]
        if unreported:
            self._bench.ending.remarks.append(
                f"failed or not judged, and not reported as failed: {', '.join(unreported)}"
            )
        return (yield)

    def _log(self, items: Iterable[pytest.Item]) -> None:
        for item in items:
            problem = "" if self._has_failed(item) else self._problem(item)
            if problem:
                self._log_failure(item, f"{problem}\n  {self._how_reported(item)}")

    def _log_failure(self, item: pytest.Item, text: str) -> None:
        self._logged.append(item)
        keywords: dict[str, Any] = dict.fromkeys(item.keywords, 1)
        report = pytest.TestReport(
            item.nodeid, item.location, keywords, "failed", text, "call", user_properties=item.user_properties
        )
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if BENCHMARK in item.stash:
            benchmark, measured = item.stash[BENCHMARK], FINDING in item.stash
            self._bench.findings.add_missing(benchmark, text.splitlines()[0])
            self._bench.note_outcome(benchmark, "failed", failed_by_verdict=measured)

    def _problem(self, item: pytest.Item) -> str:
        """Return what must fail a test; "" if nothing does, or if the test excuses it."""
        if self._is_excused(item):
            return ""
        if PROBLEM in item.stash:
            return item.stash[PROBLEM]
        try:
            late.check_added(item)
        except pytest.fail.Exception as error:
            return str(error)
        return self._failing_verdict(item) or self._unjudged(item)

    def _failing_verdict(self, item: pytest.Item) -> str:
        findings, that_fail = self._bench.findings, self._bench.settings.failing
        for each in (item.stash.get(FINDING, None), self._again.get(item.stash[BENCHMARK].nodeid)):
            if each is not None and each.run is not None and failing(each, that_fail):
                return explain(each, that_fail, qualified=findings.qualified_since is not None)
        return ""

    def _unjudged(self, item: pytest.Item) -> str:
        """Return why not all that a test asks for was judged: its fixtures may ask for more."""
        finding, error = item.stash.get(FINDING, None), item.stash.get(UNMEASURED, None)
        benchmark = finding.benchmark if finding is not None else item.stash[BENCHMARK]
        # A failed measurement ends a test before its fixtures can add a limit.
        asked = error or benchmark.limits or benchmark.gates or benchmark.claims or benchmark.output
        if not asked or (finding is not None and self._reports[item.nodeid]):
            return ""
        return f"limits and gates were not judged: {error or 'the test did not run'}"

    @cached_property
    def _again(self) -> Mapping[str, Finding]:
        return self._bench.judged_again()

    def _is_excused(self, item: pytest.Item) -> bool:
        reports = self._reports[item.nodeid]
        if any(hasattr(each, "wasxfail") for each in reports):
            return _EXCUSED in item.stash or item.get_closest_marker("xfail") is not None
        return _EXCUSED in item.stash and any(each.skipped for each in reports)

    def _has_failed(self, item: pytest.Item) -> bool:
        return any(each.failed and not hasattr(each, "wasxfail") for each in self._reports[item.nodeid])

    def _has_ended(self, item: pytest.Item) -> bool:
        return any(each.when == "teardown" for each in self._reports[item.nodeid])

    def _how_reported(self, item: pytest.Item) -> str:
        reports = self._reports[item.nodeid]
        calls = [each.outcome for each in reports if each.when == "call" or each.skipped]
        how = f"as {calls[-1]}" if calls else "without a result" if reports else "not at all"
        return f"pytest reported this test {how}: a plugin, a hook or an option left its verdict out"
