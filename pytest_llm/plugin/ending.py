"""The end of a run: its exit status, and the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.plugin import inventory
from pytest_llm.plugin.items import is_benchmark
from pytest_llm.system.text import clean_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.plugin.session import Bench

_GREEN = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def finish(session: pytest.Session, bench: Bench) -> None:
    """Write the results, and set the exit status of a run that wrote or measured nothing."""
    bench.finish()
    green = session.exitstatus in _GREEN
    if not bench.findings.runs() and (green or session.exitstatus == pytest.ExitCode.TESTS_FAILED):
        bench.nothing = _why_nothing(session, bench.protocol.ended)
        if green and bench.settings.fails_without_runs:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if bench.findings.unwritten:  # shown in the summary: an error raised here would replace pytest's own
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


def show(reporter: pytest.TerminalReporter, bench: Bench) -> None:
    """Show what was measured, what was written, and what could not be."""
    reporter.write_sep("=", "llm-bench")
    if bench.nothing:
        fails = bench.settings.fails_without_runs
        reporter.write_line(bench.nothing, red=fails, yellow=not fails)
    elif bench.findings.runs() and bench.findings.results is not None:
        from pytest_llm.reports.terminal import summary

        for line in summary(bench.findings.results):
            reporter.write_line(clean_lines(line))
    for line in bench.findings.written:
        reporter.write_line(clean_lines(line))
    for line in inventory.unknown_baselines(reporter.config, bench.homes.root):
        reporter.write_line(clean_lines(line))
    for line in bench.findings.unwritten:
        reporter.write_line(clean_lines(line), red=True)


def _why_nothing(session: pytest.Session, ended: Mapping[str, int]) -> str:
    """Return why a run that ended by itself measured nothing.

    Args:
        session: The run.
        ended: How many benchmarks ended with each outcome.
    """
    selected = sum(map(is_benchmark, session.items))
    deselected = inventory.deselected(session.config)
    if selected:
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
