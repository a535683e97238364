"""Comparisons: a candidate against a reference that was measured in the same sessions."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from pytest_llm.checks import counts
from pytest_llm.checks.coverage import measured, not_comparable
from pytest_llm.checks.drift import compare_sides
from pytest_llm.checks.findings import Comparison
from pytest_llm.checks.format import counted, moved, percent, ratio, resting_on
from pytest_llm.records import Claim, Gate, Installed, Release, Verdict
from pytest_llm.records.units import BYTES, JOULES
from pytest_llm.stats.disturbances import strikes
from pytest_llm.stats.estimates import estimate
from pytest_llm.stats.log_ratios import observations
from pytest_llm.stats.sequential import conclude, negligible_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.checks.family import Decisions
    from pytest_llm.records import PairedRun, Run
    from pytest_llm.stats.sequential import Decision

_WORSE = {BYTES.name: "larger", JOULES.name: "more"}


def compare_runs(run: PairedRun, asked: Gate | Claim, decisions: Decisions) -> Comparison:
    """Return the verdict on one metric of a candidate by its reference, after the last session.

    Args:
        run: What was measured of both.
        asked: A gate or a claim.
        decisions: Those of the family of which this question is one.
    """
    metric, rule = asked.metric, decisions.rule
    reason = not_comparable(run, metric)
    if reason:
        return Comparison(Verdict.NOT_COVERED, asked, run, reason=reason)
    ours, theirs = measured(run.candidate, metric), measured(run.reference, metric)
    if isinstance(asked, Gate) and metric.exact and ours and theirs:
        return counts.compare(run, asked, ours, theirs)
    open_or_not, seen = decisions.of(run, asked), observations(metric, run)
    found, decision = estimate(rule, asked, open_or_not), conclude(open_or_not)
    assert decision.verdict is not None
    known = found.change is not None
    too_early = decision.verdict is Verdict.INCONCLUSIVE and decision.sessions < rule.least_sessions
    return Comparison(
        Verdict.NOT_JUDGED if too_early and run.cut_off else decision.verdict,
        asked,
        run,
        ours,
        theirs,
        tuple(seen.typical),
        None if seen.whole is None else tuple(seen.whole),
        decision.sessions,
        decision.observation,
        found.change,
        found.interval,
        found.bound,
        decision.p_regressed if known else None,
        decision.p_improved if isinstance(asked, Gate) else None,
        decision.p_ok if known else None,
        found.mde,
        _why(run, asked, decision) if decision.verdict is Verdict.INCONCLUSIVE else "",
        1 - rule.alpha,
        math.expm1(negligible_of(asked, rule.tau)) if isinstance(asked, Gate) else None,
        compare_sides(run) if isinstance(asked, Claim) else None,
    )


def _why(run: PairedRun, asked: Gate | Claim, decision: Decision) -> str:
    if decision.stopped:
        return "its sessions ended because another metric of the same workload regressed"
    if decision.sessions < len(run.candidate.sessions):
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
    of = f"{found.observation}, " if found.whole_log_ratios is not None else ""
    return f"{movement}, {percent(found.change)} ({of}{basis}){_remark(found)}"


def _remark(comparison: Comparison) -> str:
    asked, mde = comparison.asked, comparison.mde
    if comparison.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_JUDGED):
        return f": {comparison.verdict.value}, {comparison.reason}"
    if isinstance(asked, Claim):
        kept = "as" if comparison.verdict is Verdict.PASS else "not as"
        return f": {kept} claimed, faster by {ratio(asked.by)}"
    if comparison.verdict is Verdict.IMPROVED:
        return ": improved"
    if comparison.verdict is Verdict.PASS:
        called = "" if mde is None else f"; a loss of {ratio(mde)} would have been called"
        return f": pass{_bound(comparison, 'at most')}{called}"
    assert comparison.negligible is not None, "a gate has one"
    sizes = f"fails from {ratio(comparison.negligible)}, must fail at {ratio(asked.tolerance)}"
    return f": regressed{_bound(comparison, 'at least')}; {sizes}"


def _bound(comparison: Comparison, which: str) -> str:
    bound, metric = comparison.bound, comparison.asked.metric
    if bound is None:
        return ""
    if bound <= 0:
        return f", not {_WORSE.get(metric.unit.name, 'slower')}"
    # Of times, also where the metric is a speed, whose own change is another number.
    what = "a token takes " if metric.better == "higher" else ""
    return f", {what}{which} {ratio(bound)} {_WORSE.get(metric.unit.name, 'longer')}"


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
        "side may cause it itself, so such slices count as soon as this shows"
        for reason, count in strikes(run.turns).items()
        if not count.even
    ]
    if run.not_interleaved:
        lines.append("both do not fit into memory together: each session had one after the other")
    return lines
