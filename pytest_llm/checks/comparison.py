"""Comparisons: a candidate against a reference that was measured in the same sessions."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from pytest_llm.checks import counts
from pytest_llm.checks.coverage import measured, not_covered, too_few
from pytest_llm.checks.drift import compare_sides
from pytest_llm.checks.findings import Comparison
from pytest_llm.checks.format import counted, moved, percent, ratio, resting_on
from pytest_llm.records import Claim, Gate, Installed, Release, Verdict
from pytest_llm.stats.disturbances import strikes
from pytest_llm.stats.log_ratios import log_ratios
from pytest_llm.stats.sequential import change_of, conclude, decide_any, interval_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import PairedRun, Run
    from pytest_llm.stats.sequential import Rule


def compare_runs(run: PairedRun, asked: Gate | Claim, rule: Rule) -> Comparison:
    """Judge one metric of a candidate by its reference, after the last session.

    Args:
        run: What was measured of both.
        asked: A gate or a claim.
        rule: The one that the sessions were made by.
    """
    metric = asked.metric
    ours, theirs = measured(run.candidate, metric), measured(run.reference, metric)
    for side, found in ((run.candidate, ours), (run.reference, theirs)):
        if found is None:
            return Comparison(Verdict.NOT_COVERED, asked, run, reason=not_covered(side, metric))
    if reason := too_few(run, metric):
        return Comparison(Verdict.NOT_COVERED, asked, run, reason=reason)
    ways = [side.how_read(metric) for side in (run.candidate, run.reference)]
    if ways[0] != ways[1]:
        reason = f"{metric.title} was read in two ways: {ways[0]} and, of the reference, {ways[1]}"
        return Comparison(Verdict.NOT_COVERED, asked, run, reason=reason)
    if isinstance(asked, Gate) and metric.exact and ours and theirs:
        return counts.compare(run, asked, ours, theirs)
    ratios = log_ratios(metric, run)
    decision = conclude(decide_any(rule, asked, ratios))
    assert decision.verdict is not None
    known = decision.change is not None
    too_early = (
        bool(run.cut_off) and decision.verdict is Verdict.INCONCLUSIVE and len(ratios) < rule.least_sessions
    )
    return Comparison(
        Verdict.NOT_JUDGED if too_early else decision.verdict,
        asked,
        run,
        ours,
        theirs,
        tuple(ratios),
        decision.sessions,
        change_of(metric, decision.change) if decision.change is not None else None,
        interval_of(metric, decision.interval) if decision.interval is not None else None,
        decision.p_regressed if known else None,
        decision.p_improved,
        decision.p_ok if known else None,
        decision.mde,
        _why(run, asked, decision.sessions) if decision.verdict is Verdict.INCONCLUSIVE else "",
        1 - rule.alpha,
        compare_sides(run) if isinstance(asked, Claim) else None,
    )


def _why(run: PairedRun, asked: Gate | Claim, sessions: int) -> str:
    if sessions < len(run.candidate.sessions):
        if asked.metric.once:
            return "it was read once, while neither was beside the other: state a limit instead"
        return "a time or size of 0 has no ratio to another"
    if run.cut_off:
        return run.cut_off
    if isinstance(asked, Claim):
        return f"a gain of {ratio(asked.by)} can be neither confirmed nor denied"
    return f"a loss of {ratio(asked.tolerance)} can be neither called nor ruled out"


def summary(comparison: Comparison) -> str:
    """Return one line with the numbers of a verdict."""
    metric, found = comparison.asked.metric, comparison
    if metric.exact and found.candidate is not None:
        return counts.compared(found)
    if found.candidate is None or found.reference is None or found.change is None:
        return found.reason if found.candidate is None else f"{metric.title}: {found.reason}"
    movement = moved(metric, found.reference.value, found.candidate.value, found.change)
    basis = resting_on(found.interval, found.confidence, counted(found.sessions, "session"))
    return f"{movement}, {percent(found.change)} ({basis}){_remark(found)}"


def _remark(comparison: Comparison) -> str:
    asked, mde = comparison.asked, comparison.mde
    if comparison.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_JUDGED):
        return f": {comparison.verdict.value}, {comparison.reason}"
    if isinstance(asked, Claim):
        kept = "as" if comparison.verdict is Verdict.PASS else "not as"
        return f": {kept} claimed, faster by {ratio(asked.by)}"
    if comparison.verdict is Verdict.IMPROVED:
        return ": improved"
    if comparison.verdict is Verdict.PASS and mde is not None:
        return f": pass, where a loss of {ratio(mde)} would have been called"
    return ""


def next_step(comparisons: Sequence[Comparison], nodeid: str) -> str:
    """Return the command that finds the culprit; "" if no metric regressed between two releases."""
    for each in comparisons:
        if each.verdict is Verdict.REGRESSED and isinstance(each.asked, Gate):
            good, bad = _release(each.run.reference), _release(each.run.candidate)
            if good is not None and bad is not None and good < bad:
                return f"next: pytest-llm bisect {shlex.quote(nodeid)} --good {good} --bad {bad}"
    return ""


def _release(side: Run) -> Version | None:
    """Return the release of llama-cpp-python that was measured; None if it is not just a release."""
    asked = side.subject.build
    if not (isinstance(asked, Installed) or (isinstance(asked, Release) and not asked.settings)):
        return None
    try:
        return Version(side.build.version)
    except InvalidVersion:
        return None


def context(comparison: Comparison) -> list[str]:
    """Return lines on the reference and on how it was measured."""
    run = comparison.run
    lines = [f"reference {run.reference.build}"]
    if isinstance(comparison.asked, Claim):
        apart = run.reference.subject.load_options.apart(run.candidate.subject.load_options)
        lines = [f"reference the same build with {apart}"]
    lines += [
        f"{reason} struck the candidate {count.candidate} times and the reference {count.reference} times: a "
        "side may cause it itself, so these slices count"
        for reason, count in strikes(run.turns).items()
        if not count.even
    ]
    if run.not_interleaved:
        lines.append("both do not fit into memory together: each session had one after the other")
    return lines
