"""Metrics and verdicts of a results file, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pytest_llm.checks.findings import Difference
from pytest_llm.records import StoredInvariants, StoredRun, Verdict
from pytest_llm.records.schema import AboveZero, Count, Interval, NonEmpty, Probability, Share, constraint
from pytest_llm.stats.prediction import Spread

# 0 of what repeats exactly.
Tolerance: TypeAlias = Annotated[float, constraint(minimum=0, exclusiveMaximum=1)]


@dataclass(frozen=True)
class LimitEntry:
    """A limit and its verdict; ``interval`` is that of a slope, otherwise None."""

    bound: float
    verdict: Verdict
    interval: Interval | None


@dataclass(frozen=True)
class AnchoredEntry:
    """A ratio to an anchor; the fields are those of :class:`~pytest_llm.checks.findings.Anchored`.

    Attributes:
        pair: The name in ``pairs`` of the candidate and the anchor.
        ratio: The typical log ratio of times, candidate to anchor; None without sessions.
        whole: The log ratio over all slices of a speed; None of other metrics.
        spread: Of the stored typical ratios of a class of machines; None if too few are stored.
        whole_spread: Of the stored whole ones.
        decided_by: The observation that the verdict is of.
    """

    pair: NonEmpty
    ratio: float | None
    whole: float | None
    spread: Spread | None
    whole_spread: Spread | None
    decided_by: Literal["typical", "whole"]


@dataclass(frozen=True)
class BaselineEntry:
    """A gate that stored runs decide.

    Attributes:
        tolerance: The loss that must be called.
        negligible_asked: The loss that is too small to matter, if a marker names it; None otherwise.
        runs: The stored runs that the metric was compared with, oldest first.
        value: Their geometric mean, or, of a count, the newest that did not regress; None without any.
        change: Of the metric, now by then, less 1; None without stored runs.
        interval: Of the change; None with too few stored runs.
        reason: Why there is no certain answer; "" if there is one.
        left_out: Which stored runs the metric was not compared with, and why; "" if it was with all.
        calls_from: The loss from which on it would have been called, as a ratio; None with too few runs.
        anchored: Where the runs are ratios to an anchor; None where they are values.
    """

    verdict: Verdict
    tolerance: Tolerance
    negligible_asked: Share | None
    runs: tuple[StoredRun, ...]
    value: float | None
    change: float | None
    interval: Interval | None
    reason: str
    left_out: str
    calls_from: float | None
    anchored: AnchoredEntry | None


@dataclass(frozen=True)
class PairedEntry:
    """What a pair shows of a metric; the fields are those of :class:`~pytest_llm.checks.findings.Comparison`.

    Attributes:
        pair: The pair's name in ``pairs``.
        reference_value: The metric of the reference, in the metric's unit.
        reference_samples: One a session.
        log_ratios: Of the typical slice, one a session; positive is worse.
        whole_log_ratios: Of all work together; None unless the metric is a speed.
        rounds: How many rounds of the candidate count in each session.
        sessions: How many sessions the verdict rests on.
        observation: The one that decided, and that the following numbers are of.
        change: Of the metric, candidate by reference, less 1.
        interval: Of the change.
        bound: The loss, as a ratio of times or sizes less 1, that a pass rules out and a regression exceeds.
        p_regressed: Error probability of "regressed".
        p_improved: Error probability of "improved".
        p_ok: Error probability of "pass".
        mde: The loss that these sessions call with a power of 95 %.
        reason: Why there is no certain answer; "" if there is one.
    """

    verdict: Verdict
    pair: NonEmpty
    reference_value: float
    reference_samples: tuple[float, ...]
    log_ratios: tuple[float, ...]
    whole_log_ratios: tuple[float, ...] | None
    rounds: tuple[Count, ...]
    sessions: Count
    observation: Literal["typical", "whole"]
    change: float | None
    interval: Interval | None
    bound: float | None
    p_regressed: Probability | None
    p_improved: Probability | None
    p_ok: Probability | None
    mde: float | None
    reason: str


@dataclass(frozen=True)
class ComparisonEntry(PairedEntry):
    """A gate that a reference decides.

    Attributes:
        tolerance: The loss that must be called.
        negligible: The loss from which on the gate can fail; None of a count.
        negligible_asked: The same as the marker has it; None if it names none.
    """

    tolerance: Tolerance
    negligible: Share | None
    negligible_asked: Share | None


@dataclass(frozen=True)
class DriftEntry:
    """How a candidate differs from its reference (``pair``), or from what is stored of its test.

    Attributes:
        verdict: None if nothing was compared.
        differences: Invariants and effective options that differ.
        reason: Why nothing was compared; "" if it was.
        pair: The pair's name in ``pairs``; None if there is none.
        stored: What is stored; None if nothing is, or a reference decides.
    """

    verdict: Annotated[Verdict, constraint(enum=["drift", "pass"])] | None
    differences: tuple[Difference, ...]
    reason: str
    pair: NonEmpty | None
    stored: StoredInvariants | None


@dataclass(frozen=True)
class ClaimEntry(PairedEntry):
    """A claim to be faster than other load options by at least ``by``, and how the two differ besides."""

    by: AboveZero
    drift: DriftEntry


@dataclass(frozen=True)
class MetricEntry:
    """A metric of a test and every verdict on it.

    Attributes:
        value: In the unit.
        unit: The metric's base unit.
        better: Which way is better.
        series: The series of a session that the metric is read from.
        percentile: Which percentile of the observations.
        pooled: The value is taken over all observations of a run.
        samples: One a session, in the unit.
        low: The smallest sample.
        high: The largest.
        noisy: They differ by more than half of the samples' median.
        limit: None if no marker sets one.
        baseline: None if stored runs do not decide.
        comparison: None if no reference decides.
        claim: None if no marker makes one.
        variant: Beside the first variant; None of the first one, or where no marker asks.
    """

    value: float
    unit: str
    better: Literal["higher", "lower"]
    series: NonEmpty
    percentile: Annotated[float, constraint(exclusiveMinimum=0, exclusiveMaximum=100)]
    pooled: bool
    samples: Annotated[tuple[float, ...], constraint(minItems=1)]
    low: float
    high: float
    noisy: bool
    limit: LimitEntry | None = None
    baseline: BaselineEntry | None = None
    comparison: ComparisonEntry | None = None
    claim: ClaimEntry | None = None
    variant: ComparisonEntry | None = None

    @property
    def standing_baseline(self) -> BaselineEntry | None:
        """The verdict by stored runs; None if a pair that was measured to confirm it contradicts it."""
        found, paired = self.baseline, self.comparison
        contradicted = paired is not None and paired.verdict in (Verdict.PASS, Verdict.IMPROVED)
        return None if found is not None and found.verdict is Verdict.REGRESSED and contradicted else found

    @property
    def pairs(self) -> tuple[str, ...]:
        """The names of the pairs that decided."""
        anchored = self.baseline.anchored if self.baseline is not None else None
        found = (self.comparison, self.claim, self.variant, anchored)
        return tuple(each.pair for each in found if each is not None)
