"""The end of a run: its exit status, and the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.plugin import inventory, options
from pytest_llm.plugin.items import is_benchmark
from pytest_llm.system.text import clean_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.plugin.session import Bench

_GREEN = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


class Ending:
    """Exit status of a run, and the lines that explain it.

    Attributes:
        nothing: Why nothing was measured; "" if something was.
        least_status: The exit status instead of a green one; 0 if that is right.
        remarks: Lines on tests whose failure pytest does not show.
    """

    def __init__(self) -> None:
        """Begin with a run that may end green."""
        self.nothing = ""
        self.least_status: int = pytest.ExitCode.OK
        self.remarks: list[str] = []

    def status(self, given: int) -> int:
        """Return the exit status: the given one, unless it is green and must not be."""
        return self.least_status if self.least_status and given in _GREEN else given


class EarlyEnd:
    """A plugin for one run: a run that ends while tests are collected is one that measures nothing."""

    def __init__(self, bench: Bench) -> None:
        """Take the bench, of a run with ``--llm-bench``."""
        self._bench = bench

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note why nothing is measured if ``pytest.exit`` ends the run early, maybe with exit status 0."""
        if not self._bench.begun and isinstance(excinfo.value, pytest.exit.Exception):
            self._bench.ending.nothing = "nothing was measured: pytest.exit ended the run before any test"
            self._bench.ending.least_status = pytest.ExitCode.TESTS_FAILED


def finish(session: pytest.Session, bench: Bench) -> None:
    """Write the results, and set the exit status of a run that wrote or measured nothing."""
    bench.finish()
    flag = options.showing(session.config)
    green = session.exitstatus in _GREEN
    if not bench.findings.runs() and (green or session.exitstatus == pytest.ExitCode.TESTS_FAILED):
        bench.ending.nothing = _why_nothing(session, bench.protocol.ended, flag)
        if bench.settings.fails_without_runs:
            bench.ending.least_status = pytest.ExitCode.TESTS_FAILED
    if bench.findings.unwritten:  # shown in the summary: an error raised here would replace pytest's own
        bench.ending.least_status = session.exitstatus = pytest.ExitCode.USAGE_ERROR
    session.exitstatus = bench.ending.status(session.exitstatus)


def show(reporter: pytest.TerminalReporter, bench: Bench) -> None:
    """Show what was measured, what was written, and what could not be."""
    reporter.write_sep("=", "llm-bench")
    if bench.ending.nothing:
        fails = bench.settings.fails_without_runs
        reporter.write_line(bench.ending.nothing, red=fails, yellow=not fails)
    elif bench.findings.runs() and bench.findings.results is not None:
        from pytest_llm.reports.terminal import columns, summary

        for each in summary(bench.findings.results, columns(), reporter.verbosity):
            reporter.write(clean_lines(each.text))
            reporter.write_line(clean_lines(each.verdict), **{each.colour: True} if each.colour else {})
    for line in bench.findings.written:
        reporter.write_line(clean_lines(line))
    for line in inventory.unknown_baselines(reporter.config, bench.homes.root):
        reporter.write_line(clean_lines(line))
    for line in (*bench.ending.remarks, *bench.findings.unwritten):
        reporter.write_line(clean_lines(line), red=True)


def _why_nothing(session: pytest.Session, ended: Mapping[str, int], flag: str) -> str:
    """Return why a run that ended by itself measured nothing.

    Args:
        session: The run.
        ended: How many benchmarks ended with each outcome.
        flag: The option that keeps tests from running; "" if they ran.
    """
    selected = sum(map(is_benchmark, session.items))
    deselected = inventory.deselected(session.config)
    if flag:
        reason = f"{flag} sets tests up and runs none"
    elif selected:
        reason = _what_became_of(selected, ended)
    elif deselected:
        reason = f"{_all(deselected)} deselected, by -k, -m or another selection"
    elif session.items:
        reason = (
            "no selected test is a benchmark; give one the marker llm_workload, or let it use the fixture "
            "llm_bench"
        )
    else:
        reason = "no test was selected"
    return f"nothing was measured: {reason} (--llm-none-measured sets if that fails a run)"


def _what_became_of(selected: int, ended: Mapping[str, int]) -> str:
    broken, skipped = ended.get("failed", 0) + ended.get("error", 0), ended.get("skipped", 0)
    parts = {
        "skipped": skipped,
        "broken before anything was measured": broken,
        "not run": selected - broken - skipped,
    }
    found = {what: count for what, count in parts.items() if count > 0}
    if len(found) == 1:
        return f"{_all(selected)} {next(iter(found))}"
    each = [f"{count} {_were(count)} {what}" for what, count in found.items()]
    return f"of {selected} benchmarks, {' and '.join(each)}"


def _all(count: int) -> str:
    return "the only benchmark was" if count == 1 else f"all {count} benchmarks were"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
