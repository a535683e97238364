"""Anchored checks: the ratio of a candidate to an anchor against the stored ratios of its test."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.baselines import Conditions, Missing
from pytest_llm.checks.coverage import measured, not_covered, too_few
from pytest_llm.checks.findings import Anchored, BaselineCheck
from pytest_llm.records import Verdict
from pytest_llm.stats.estimates import change_of
from pytest_llm.stats.log_ratios import observations
from pytest_llm.stats.prediction import ALPHA, LEAST_RUNS, interval_about, predict
from pytest_llm.stats.sequential import SHARES, negligible_of
from pytest_llm.stats.signed_rank import hodges_lehmann

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.baselines import BaselineStore
    from pytest_llm.records import Gate, Measurement, PairedRun, StoredRun, TestKey
    from pytest_llm.records.metric import Metric
    from pytest_llm.stats.prediction import Prediction, Spread

_ORDER = list(Verdict)


def has_ratio(metric: Metric) -> bool:
    """Return if a metric has ratios to an anchor; counts and what is read once have values alone."""
    return not (metric.exact or metric.once)


class _Ratios(NamedTuple):
    typical: float
    whole: float | None


def check_anchored(
    stored: BaselineStore | Missing, key: TestKey, run: PairedRun, gate: Gate, family: int
) -> BaselineCheck:
    """Judge one metric of a candidate by its ratio to an anchor and the stored ones of its test.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    anchored = Anchored(run)
    if isinstance(stored, Missing):
        return check_ratios(anchored, gate, (), family, stored)
    spread, whole_spread = stored.ratio_spreads(gate.metric)
    anchored = replace(anchored, spread=spread, whole_spread=whole_spread)
    conditions = Conditions.of(run.candidate, run.reference.build)
    found = stored.look_up_ratios(key, gate.metric.name, conditions)
    if isinstance(found, Missing):
        return check_ratios(anchored, gate, (), family, found)
    how = run.candidate.how_read(gate.metric)
    comparable = tuple(each for each in found if each.note == how)
    left_out = f"{len(found) - len(comparable)} more left out, read in another way"
    left_out = left_out if len(comparable) < len(found) else ""
    return check_ratios(anchored, gate, comparable, family, Missing(left_out), left_out)


def check_ratios(
    anchored: Anchored,
    gate: Gate,
    stored: Sequence[StoredRun],
    family: int,
    missing: Missing,
    left_out: str = "",
) -> BaselineCheck:
    """Judge one metric of a pair by stored ratios.

    Args:
        anchored: The pair and the spreads; the ratios follow from the pair.
        gate: Which metric, and its tolerance.
        stored: Earlier ratios of the test under the same conditions; may be empty.
        family: How many verdicts share the error rate.
        missing: Why there are no stored ratios.
        left_out: Which ones are not among them, and why.
    """
    run, metric = anchored.run, gate.metric
    measurement = measured(run.candidate, metric)
    if measurement is None:
        reason = not_covered(run.candidate, metric)
        return BaselineCheck(Verdict.NOT_COVERED, gate, None, reason=reason, anchored=anchored)
    if measured(run.reference, metric) is None:
        reason = f"of the anchor, {not_covered(run.reference, metric)}"
        return BaselineCheck(Verdict.NOT_COVERED, gate, None, reason=reason, anchored=anchored)
    if reason := too_few(run, metric):
        return BaselineCheck(Verdict.NOT_COVERED, gate, None, reason=reason, anchored=anchored)
    ratios = ratios_of(metric, run)
    if ratios is None:
        verdict = Verdict.NOT_JUDGED if run.cut_off else Verdict.INCONCLUSIVE
        reason = run.cut_off or "a time or size of 0 has no ratio to another: state a limit instead"
        return BaselineCheck(verdict, gate, measurement, reason=reason, anchored=anchored)
    anchored = replace(anchored, ratio=ratios.typical, whole=ratios.whole)
    if not stored:
        verdict = Verdict.UNRECORDED if missing.unrecorded else Verdict.NO_BASELINE
        return BaselineCheck(verdict, gate, measurement, reason=str(missing), anchored=anchored)
    return _judged(anchored, ratios, gate, tuple(stored), family, left_out, measurement)


def _judged(
    anchored: Anchored,
    ratios: _Ratios,
    gate: Gate,
    stored: tuple[StoredRun, ...],
    family: int,
    left_out: str,
    measurement: Measurement,
) -> BaselineCheck:
    metric = gate.metric
    wholes = [each.whole for each in stored if each.whole is not None]
    values = [each.value for each in stored]
    both = ratios.whole is not None and bool(wholes)
    # An error that all migrated runs have in common, by their share of the mean.
    shared = (sum(math.sqrt(each.migrated) for each in stored) / len(stored)) ** 2

    def predicted(before: Sequence[float], now: float, spread: Spread | None, share: float) -> Prediction:
        # A bias that stays with one side is in every ratio, and cancels.
        negligible, alpha = negligible_of(gate, 0), ALPHA * share / family
        return predict(before, now, gate.tolerance, spread, alpha=alpha, negligible=negligible, shared=shared)

    share = SHARES["typical"] if both else 1.0
    decisive = typical = predicted(values, ratios.typical, anchored.spread, share)
    if ratios.whole is not None and wholes:
        whole = predicted(wholes, ratios.whole, anchored.whole_spread, SHARES["whole"])
        if _ORDER.index(whole.verdict) < _ORDER.index(typical.verdict):
            decisive, values = whole, wholes
            anchored = replace(anchored, decided_by="whole")
    degrees = 0 if anchored.spread is None else anchored.spread.degrees
    few = f"too few stored ratios: their spread has {degrees} of {LEAST_RUNS - 1} degrees of freedom"
    return BaselineCheck(
        decisive.verdict,
        gate,
        measurement,
        stored,
        1 + change_of(metric, math.fsum(values) / len(values)),
        change_of(metric, decisive.worse),
        interval_about(metric, decisive),
        few if decisive.reach is None else "",
        left_out,
        None if decisive.calls_from is None else math.expm1(decisive.calls_from),
        anchored,
    )


def ratios_of(metric: Metric, run: PairedRun) -> _Ratios | None:
    """Return a pair's typical and whole log ratio of times over its sessions; None unless all have it.

    The centre is that of Hodges and Lehmann, which one disturbed session of five moves little.
    """
    typical, whole = observations(metric, run)
    if run.cut_off or not typical or len(typical) < len(run.candidate.sessions):
        return None
    return _Ratios(hodges_lehmann(typical), None if whole is None else hodges_lehmann(whole))
