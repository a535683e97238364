"""Baseline checks: a run against what is stored of its test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.baselines import Conditions, Missing
from pytest_llm.baselines.control import other_speed, unknown_speed
from pytest_llm.baselines.records import environment_of
from pytest_llm.checks import counts
from pytest_llm.checks.coverage import measured, not_covered
from pytest_llm.checks.drift import compare
from pytest_llm.checks.findings import BaselineCheck, Drift
from pytest_llm.checks.format import counted, moved, percent, ratio, resting_on
from pytest_llm.records import (
    OUTPUT_SNAPSHOT,
    OutputSnapshot,
    Provenance,
    StoredInvariants,
    StoredSnapshot,
    Verdict,
)
from pytest_llm.records.serialization import decode
from pytest_llm.stats.prediction import ALPHA, LEAST_RUNS, screen
from pytest_llm.stats.sequential import negligible_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.baselines import BaselineStore
    from pytest_llm.records import Gate, Run, StoredRun, TestKey

# The engine whose releases can be installed again.
_WITH_RELEASES = "llama-cpp-python"
# Shown for a value without a note on how it was read.
_UNNOTED = "nothing noted"
_NOTHING = Missing("")


def check_baseline(
    stored: BaselineStore | Missing, key: TestKey, run: Run, gate: Gate, family: int, tau: float = 0.0
) -> BaselineCheck:
    """Judge one metric of a run by the runs that are stored of its test; see :func:`check_stored_runs`.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    found = (
        stored if isinstance(stored, Missing) else stored.look_up(key, gate.metric.name, Conditions.of(run))
    )
    if isinstance(found, Missing):
        return check_stored_runs(run, gate, (), family, found)
    comparable, left_out = alike(found, run.how_read(gate.metric))
    unknown = unknown_speed(gate.metric, [each.control for each in comparable], run.control)
    remarks = "; ".join(filter(None, (left_out, unknown)))
    return check_stored_runs(run, gate, comparable, family, Missing(left_out), remarks, tau)


def drift_from(stored: BaselineStore | Missing, key: TestKey, run: Run) -> Drift:
    """Compare the invariants of a run with the stored ones of its test.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    if isinstance(stored, Missing):
        return Drift(reason=stored.reason)
    found = stored.look_up_invariants(key, Conditions.portable(run))
    environment = stored.look_up_environment(key, Conditions.of(run))
    if isinstance(found, Missing):
        runs_alone = compare(StoredInvariants({}, Provenance(), environment), {}, environment_of(run))
        return runs_alone if runs_alone.differences else Drift(reason=found.reason)
    # The output is judged by itself, for tests that ask for it.
    invariants = {name: each for name, each in found.invariants.items() if name != OUTPUT_SNAPSHOT}
    return compare(
        StoredInvariants(invariants, found.provenance, environment), run.invariants, environment_of(run)
    )


def stored_snapshot(stored: BaselineStore | Missing, key: TestKey, run: Run) -> StoredSnapshot | Missing:
    """Return the stored output of a test, or why there is none.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    if isinstance(stored, Missing):
        return stored
    conditions = Conditions.portable(run)
    if not stored.has_invariants(key):
        return stored.without_snapshot(key, conditions)
    found = stored.look_up_invariants(key, conditions)
    if isinstance(found, Missing):
        return found
    if OUTPUT_SNAPSHOT not in found.invariants:
        return stored.without_snapshot(key)
    return StoredSnapshot(decode(OutputSnapshot, found.invariants[OUTPUT_SNAPSHOT]), found.provenance)


def check_stored_runs(
    run: Run,
    gate: Gate,
    stored: Sequence[StoredRun],
    family: int,
    missing: Missing = _NOTHING,
    left_out: str = "",
    tau: float = 0.0,
) -> BaselineCheck:
    """Judge one metric of a run by stored runs.

    Args:
        run: What was measured now.
        gate: Which metric, and its tolerance.
        stored: Earlier runs of the test under the same conditions; may be empty.
        family: How many verdicts share the error rate.
        missing: Why there are no stored runs.
        left_out: Which ones are not among them, and why; or what of them was not compared.
        tau: The spread of what stays with one build, such as its layout, on this machine.
    """
    measurement = measured(run, gate.metric)
    if measurement is None:
        return BaselineCheck(Verdict.NOT_COVERED, gate, None, reason=not_covered(run, gate.metric))
    if not stored:
        verdict = Verdict.UNRECORDED if missing.unrecorded else Verdict.NO_BASELINE
        return BaselineCheck(verdict, gate, measurement, reason=str(missing))
    if gate.metric.exact:
        return counts.check(gate, measurement, stored, left_out)
    if run.cut_off:
        return BaselineCheck(Verdict.NOT_JUDGED, gate, measurement, tuple(stored), reason=run.cut_off)
    speed = other_speed(gate.metric, [each.control for each in stored], run.control)
    if speed:
        return BaselineCheck(Verdict.NO_BASELINE, gate, measurement, tuple(stored), reason=speed)
    values = [each.value for each in stored]
    if min(measurement.value, *values) <= 0:
        reason = "a value of 0 has no ratio to another; state a limit instead"
        return BaselineCheck(Verdict.INCONCLUSIVE, gate, measurement, tuple(stored), reason=reason)
    negligible = negligible_of(gate, tau)
    found = screen(gate.metric, values, measurement.value, gate.tolerance, family, negligible)
    return BaselineCheck(
        found.verdict,
        gate,
        measurement,
        tuple(stored),
        found.value,
        found.change,
        found.interval,
        found.reason,
        left_out,
        found.calls_from,
    )


def alike(stored: Sequence[StoredRun], how: str) -> tuple[list[StoredRun], str]:
    """Return the stored runs that were read in the same way as a new one, and why others are left out.

    Args:
        stored: Earlier runs of the test under the same conditions.
        how: How the metric was read in the new run; "" if there is only one way.

    Returns:
        The runs, and "" if none is left out. If all are, the second says what to do about it.
    """
    found = [each for each in stored if each.note == how]
    others = [each for each in stored if each.note != how]
    if not others:
        return found, ""
    then = ", ".join(dict.fromkeys(each.note or _UNNOTED for each in others))
    if found:
        return found, f"{len(others)} more left out, read in another way: {then}"
    return found, (
        f"read in another way: {then} when recorded, {how or _UNNOTED} now; record it again with "
        "--llm-update-baselines=append"
    )


def notes(baseline_checks: Sequence[BaselineCheck]) -> list[str]:
    """Return a line for each verdict that is neither pass nor failure, and one for passes that say little."""
    notable = [each for each in baseline_checks if each.verdict not in (Verdict.REGRESSED, Verdict.PASS)]
    unknown: dict[str, list[str]] = {}
    for each in notable:
        if each.value is None:
            unknown.setdefault(f"{each.verdict.value}, {each.reason}", []).append(each.gate.metric.title)
    return [
        *(summary(each) for each in notable if each.value is not None),
        *(f"{', '.join(titles)}: {reason}" for reason, titles in unknown.items()),
        *_blind([each for each in baseline_checks if each.verdict is Verdict.PASS]),
    ]


def _blind(passes: Sequence[BaselineCheck]) -> list[str]:
    """Return a line on passes that would have passed with a loss of the tolerance as well."""
    called = [(each.gate, each.calls_from) for each in passes if each.calls_from is not None]
    found = [f"{gate.metric.title} {ratio(loss)}" for gate, loss in called if loss > gate.tolerance]
    return [f"pass, but smaller losses would not have been called: {', '.join(found)}"] if found else []


def summary(baseline_check: BaselineCheck) -> str:
    """Return one line with the numbers of a verdict."""
    metric = baseline_check.gate.metric
    if baseline_check.measurement is None:
        return baseline_check.reason
    if metric.exact and baseline_check.value is not None:
        return f"{counts.checked(baseline_check)}{_remark(baseline_check)}"
    if baseline_check.value is None or baseline_check.change is None:
        return f"{metric.title}: {baseline_check.verdict.value}, {baseline_check.reason}"
    if baseline_check.anchored is None:
        movement = moved(
            metric, baseline_check.value, baseline_check.measurement.value, baseline_check.change
        )
    else:
        movement = _moved_by_anchor(baseline_check, baseline_check.value, baseline_check.change)
    kind = "stored run" if baseline_check.anchored is None else "stored ratio"
    runs = ", ".join(
        filter(
            None,
            (
                counted(len(baseline_check.stored), kind),
                baseline_check.left_out,
                _sensitivity(baseline_check.calls_from),
            ),
        )
    )
    basis = resting_on(baseline_check.interval, 1 - ALPHA, runs)
    return f"{movement}, {percent(baseline_check.change)} ({basis}){_remark(baseline_check)}"


def _sensitivity(calls_from: float | None) -> str:
    return "" if calls_from is None else f"calls losses from {ratio(calls_from)} on"


def _moved_by_anchor(baseline_check: BaselineCheck, before: float, change: float) -> str:
    assert baseline_check.anchored is not None
    now = before * (1 + change)
    of = " over all slices" if baseline_check.anchored.decided_by == "whole" else ""
    verb = "stayed at" if f"{before:.3f}" == f"{now:.3f}" else "fell" if now < before else "rose"
    moves = f"{now:.3f}" if verb == "stayed at" else f"from {before:.3f} to {now:.3f}"
    return f"{baseline_check.gate.metric.title}{of} {verb} {moves} times the anchor's"


def _remark(baseline_check: BaselineCheck) -> str:
    if baseline_check.verdict is Verdict.INCONCLUSIVE:
        doubt = f"a loss of {ratio(baseline_check.gate.tolerance)} can be neither called nor ruled out"
        return f": inconclusive, {baseline_check.reason or doubt}"
    if baseline_check.verdict is Verdict.IMPROVED:
        return ": better than the baseline: update it, or a later loss of that size goes unnoticed"
    return ""


def next_step(baseline_checks: Sequence[BaselineCheck], run: Run, nodeid: str) -> str:
    """Return the command that settles a doubt; "" if there is none."""
    doubtful = [
        each
        for each in baseline_checks
        if each.verdict in (Verdict.REGRESSED, Verdict.INCONCLUSIVE) and len(each.stored) >= LEAST_RUNS
    ]
    if not doubtful:
        return ""
    made_by = [stored.provenance.build for stored in doubtful[0].stored]
    others = [each for each in made_by if each not in ("", run.build.release)]
    if not others:
        return (
            "next: the baseline is of the same release, so ask what this machine can tell: "
            f"pytest {nodeid} --llm-bench --llm-aa"
        )
    # The newest build is the last one without a known regression.
    engine, _, version = others[-1].partition(" ")
    if engine != _WITH_RELEASES:
        return ""  # a program's version does not say where the program is
    release = f"{engine}@{version}"
    return f"next: pytest {nodeid} --llm-bench --llm-against {release} settles it"


def context(baseline_check: BaselineCheck) -> list[str]:
    """Return lines on the anchor, and on the builds of the stored runs and their dates."""
    anchored = baseline_check.anchored
    lines = [] if anchored is None else [f"anchor {anchored.run.reference.build}"]
    if not baseline_check.stored:
        return lines
    builds: dict[str, None] = {}
    for each in baseline_check.stored:
        commit = each.provenance.llama_cpp_commit
        name = each.provenance.build or "a build that was not written down"
        builds[f"{name} (llama.cpp {commit})" if commit else name] = None
    dates = sorted({each.provenance.recorded[:10] for each in baseline_check.stored} - {""})
    when = f", recorded {' … '.join(dict.fromkeys((dates[0], dates[-1])))}" if dates else ""
    return [*lines, f"baseline {', '.join(builds)}{when}"]
