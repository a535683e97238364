"""Confirmation in pairs of what regressed by stored values: the machine may have changed instead."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from pytest_llm.engines import ENGINES
from pytest_llm.records import Gate, Release, Verdict

if TYPE_CHECKING:
    from pytest_llm.checks.findings import BaselineCheck, Finding

_CONTRADICTING = (Verdict.PASS, Verdict.IMPROVED)


def unconfirmed(finding: Finding) -> list[BaselineCheck]:
    """Return the checks that regressed by stored values and that no pair has judged; a count needs none."""
    judged = {each.asked.metric.name for each in finding.comparisons if isinstance(each.asked, Gate)}
    return [
        each
        for each in finding.baseline_checks
        if each.verdict is Verdict.REGRESSED
        and each.anchored is None
        and not each.gate.metric.exact
        and each.gate.metric.name not in judged
    ]


def standing(finding: Finding) -> list[BaselineCheck]:
    """Return the baseline checks of a finding without those that a pair contradicts."""
    passed = {
        each.asked.metric.name
        for each in finding.comparisons
        if isinstance(each.asked, Gate) and each.verdict in _CONTRADICTING
    }
    return [
        each
        for each in finding.baseline_checks
        if not (each.verdict is Verdict.REGRESSED and each.gate.metric.name in passed)
    ]


def earlier_release(check: BaselineCheck, now: str) -> Release | None:
    """Return the newest release among stored runs that did not regress and are not of the build of now.

    Args:
        check: With its stored runs.
        now: The candidate's engine and version: "llama-cpp-python 0.3.36".
    """
    for each in reversed(check.stored):
        engine, _, version = each.provenance.build.partition(" ")
        entry = ENGINES.get(engine)
        if each.verdict is Verdict.REGRESSED or each.provenance.build == now:
            continue
        if entry is not None and "release" in entry.places:
            with suppress(InvalidVersion):
                return Release(engine, str(Version(version)))
    return None


def explained(finding: Finding) -> list[str]:
    """Return a line on what was done about checks that regressed by stored values; none if nothing was."""
    return [f"regressed by stored runs: {finding.confirmation}"] if finding.confirmation else []
