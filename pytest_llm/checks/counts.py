"""Counts: metrics that repeat exactly, judged without statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.coverage import measured
from pytest_llm.checks.findings import BaselineCheck, Comparison
from pytest_llm.checks.format import counted, percent, ratio
from pytest_llm.records import Gate, Verdict
from pytest_llm.records.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import Measurement, PairedRun, StoredRun


class Decision(NamedTuple):
    """A verdict on a count.

    Attributes:
        change: Of the count, now by before, less 1; None if it was 0 before and is not now.
    """

    verdict: Verdict
    change: float | None


def decide(gate: Gate, before: float, now: float) -> Decision:
    """Return the verdict: a change by more than the tolerance is a loss or a gain, whatever its cause."""
    loss = before - now if gate.metric.better == "higher" else now - before
    bound = gate.tolerance * before
    verdict = Verdict.REGRESSED if loss > bound else Verdict.IMPROVED if -loss > bound else Verdict.PASS
    if before:
        return Decision(verdict, now / before - 1)
    return Decision(verdict, None if now else 0.0)


def compare(run: PairedRun, gate: Gate, ours: Measurement, theirs: Measurement) -> Comparison:
    """Judge a count of a candidate by that of its reference."""
    verdict, change = decide(gate, theirs.value, ours.value)
    sessions = min(len(ours.samples), len(theirs.samples))
    return Comparison(verdict, gate, run, ours, theirs, sessions=sessions, change=change)


def check(gate: Gate, measurement: Measurement, stored: Sequence[StoredRun], left_out: str) -> BaselineCheck:
    """Judge a count by the newest stored run that did not regress: a stored loss is still a loss.

    Args:
        gate: Which metric, and its tolerance.
        measurement: What was measured now.
        stored: Earlier runs, oldest first; at least one.
        left_out: See :class:`~pytest_llm.checks.findings.BaselineCheck`.
    """
    newest = next(
        (each for each in reversed(stored) if each.verdict is not Verdict.REGRESSED), stored[-1]
    ).value
    verdict, change = decide(gate, newest, measurement.value)
    return BaselineCheck(verdict, gate, measurement, tuple(stored), newest, change, left_out=left_out)


def compared(comparison: Comparison) -> str:
    """Return one line with the numbers of a comparison."""
    found, ours, theirs = comparison, comparison.candidate, comparison.reference
    assert isinstance(found.asked, Gate), "no claim is about a count"
    assert ours is not None, "it is covered"
    assert theirs is not None, "it is covered"
    basis = counted(found.sessions, "session")
    line = _line(found.asked, theirs.value, ours.value, Decision(found.verdict, found.change), basis)
    return f"{line}: {found.verdict.value}" if found.verdict in (Verdict.PASS, Verdict.IMPROVED) else line


def checked(baseline_check: BaselineCheck) -> str:
    """Return one line with the numbers of a baseline check."""
    found, now = baseline_check, baseline_check.measurement
    assert found.value is not None, "there are stored runs"
    assert now is not None, "it is covered"
    runs = counted(len(found.stored), "stored run")
    basis = ", ".join(
        filter(None, (f"the newest of {runs}" if len(found.stored) > 1 else runs, found.left_out))
    )
    return _line(found.gate, found.value, now.value, Decision(found.verdict, found.change), basis)


def _line(gate: Gate, before: float, now: float, decision: Decision, basis: str) -> str:
    title, unit = gate.metric.title, gate.metric.unit
    first, second = unit.format_apart(before, now)
    if now == before:
        return f"{title} stayed at {first} (a count, {basis})"
    change = "" if decision.change is None else f", {percent(decision.change)}"
    bound = f"a loss above {ratio(gate.tolerance)}" if gate.tolerance else "any loss"
    fails = f", {bound} fails" if decision.verdict is Verdict.REGRESSED else ""
    movement = f"{title} {'rose' if now > before else 'fell'} from {first} to {second}{change}"
    return f"{movement} (a count, {basis}{fails})"


def differences(run: PairedRun) -> str:
    """Return the counts that differ between both sides of a pair, as one line; "" if none does."""
    found = []
    for metric in METRICS.values():
        sides = [measured(each, metric) for each in (run.reference, run.candidate)] if metric.exact else []
        values = [each.value for each in sides if each is not None]
        if len(values) == 2 and abs(values[1] - values[0]) > metric.tolerance * values[0]:
            first, second = metric.unit.format_apart(*values)
            found.append(f"{metric.title} {first} → {second}")
    return f"counts differ: {', '.join(found)}" if found else ""
