"""Frozen records of verdicts with the numbers that they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pytest_llm.records import (
    JSON,
    Benchmark,
    Claim,
    Gate,
    Limit,
    Measurement,
    OperatorRun,
    OutputComparison,
    OutputGate,
    OutputSnapshot,
    PairedRun,
    Run,
    StoredInvariants,
    StoredRun,
    StoredSnapshot,
    VariantOutput,
    Verdict,
)
from pytest_llm.records.schema import NonEmpty, constraint
from pytest_llm.stats.prediction import Spread


@dataclass(frozen=True)
class Judgement:
    """A verdict on one limit, and what it rests on.

    Attributes:
        verdict: The answer.
        limit: What was asked.
        measurement: What was found; None if nothing could be.
        reason: Why nothing could be found.
        interval: Of a slope; None of anything else, or where there are too few readings.
        how: How it was found, where there is more than one way; "" otherwise.
    """

    verdict: Verdict
    limit: Limit
    measurement: Measurement | None
    reason: str = ""
    interval: tuple[float, float] | None = None
    how: str = ""


@dataclass(frozen=True)
class Anchored:
    """A pair of a candidate and the anchor, and how much stored ratios spread.

    Attributes:
        run: The pair.
        ratio: The typical log ratio of times, candidate to anchor: positive is worse; None without sessions.
        whole: The log ratio over all slices of a speed; None of other metrics.
        spread: Of the typical ratios of a class of machines; None if too few are stored.
        whole_spread: Of the whole ones.
        decided_by: The observation that the verdict is of.
    """

    run: PairedRun
    ratio: float | None = None
    whole: float | None = None
    spread: Spread | None = None
    whole_spread: Spread | None = None
    decided_by: Literal["typical", "whole"] = "typical"


@dataclass(frozen=True)
class BaselineCheck:
    """A verdict on one metric by stored runs, and what it rests on.

    Attributes:
        verdict: The answer.
        gate: What was asked.
        measurement: What was found now; None if nothing could be.
        stored: The stored runs that it was compared with, oldest first.
        value: What they come to, in the metric's unit; None without any.
        change: Of the metric itself, now by then, less 1; None without stored runs.
        interval: Of the change; None where there are too few.
        reason: Why there is no verdict, in words; "" otherwise.
        left_out: Which stored runs it was not compared with, and why; "" if it was with all.
        calls_from: The loss from which on it would have been called, as a ratio; None with too few runs.
        anchored: What was measured beside the anchor; None if stored values decide.
    """

    verdict: Verdict
    gate: Gate
    measurement: Measurement | None
    stored: tuple[StoredRun, ...] = ()
    value: float | None = None
    change: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""
    left_out: str = ""
    calls_from: float | None = None
    anchored: Anchored | None = None


@dataclass(frozen=True)
class Difference:
    """Something that a subject showed otherwise than what it is compared with.

    Attributes:
        name: The fact's or the option's.
        before: What was stored, or what the reference shows; None where it has nothing of the kind.
        now: What the candidate shows.
        expected: Why it is no drift: "asked for", "other build settings", "rounding", "no device", "command
            line" (which no load option changes), "not judged"; "" where it is.
    """

    name: NonEmpty
    before: JSON
    now: JSON
    expected: Annotated[
        str,
        constraint(
            enum=[
                "",
                "asked for",
                "other build settings",
                "rounding",
                "no device",
                "command line",
                "not judged",
            ]
        ),
    ] = ""


@dataclass(frozen=True)
class Drift:
    """How what a subject shows differs from what is stored of it, or from what a reference shows.

    Attributes:
        differences: Facts and options that are others now.
        reason: Why nothing could be compared; "" if it was.
        stored: What it was compared with, if not with a reference.
        output: Whether both showed token ids or greedy output.
    """

    differences: tuple[Difference, ...] = ()
    reason: str = ""
    stored: StoredInvariants | None = None
    output: bool = True

    @property
    def verdict(self) -> Verdict | None:
        """The answer: drift, or a pass; None where nothing could be compared."""
        if self.reason:
            return None
        return Verdict.DRIFT if any(not each.expected for each in self.differences) else Verdict.PASS


@dataclass(frozen=True)
class Comparison:
    """A verdict on one metric by a reference that was measured in the same sessions, and what it rests on.

    Attributes:
        verdict: The answer.
        asked: A gate, or a claim to be faster.
        run: What was measured of both.
        candidate: The metric of the candidate; None if one of the two has nothing of it.
        reference: The metric of the reference.
        log_ratios: log(candidate / reference) of times or sizes, one a session: positive is worse. Of the
            typical slice.
        whole_log_ratios: The same of all work together; None unless the metric is a speed.
        sessions: How many of them the verdict rests on.
        observation: The one that the following numbers are of, as it decided: "typical" or "whole".
        change: Of the metric itself, candidate by reference, less 1 (Hodges and Lehmann); None without any.
        interval: Of the change, at 1 - alpha; None with too few sessions.
        bound: The loss as a ratio of times or sizes less 1: of a pass, the most that it can be; of a
            regression, the least.
        p_regressed: See :class:`~pytest_llm.stats.sequential.Decision`; so are the next three.
        p_improved: None where the question was a claim.
        p_ok: None without sessions, as p_regressed.
        mde: The loss that these sessions call with 95 % power; None if none would have been called.
        reason: Why there is no verdict; "" otherwise.
        confidence: Of the interval, 1 - alpha.
        negligible: The loss from which on a gate can fail; None of a claim.
        drift: Of a claim: how the two differ in more than was asked for. Gates of a finding share its own.
    """

    verdict: Verdict
    asked: Gate | Claim
    run: PairedRun
    candidate: Measurement | None = None
    reference: Measurement | None = None
    log_ratios: tuple[float, ...] = ()
    whole_log_ratios: tuple[float, ...] | None = None
    sessions: int = 0
    observation: str = "typical"
    change: float | None = None
    interval: tuple[float, float] | None = None
    bound: float | None = None
    p_regressed: float | None = None
    p_improved: float | None = None
    p_ok: float | None = None
    mde: float | None = None
    reason: str = ""
    confidence: float = 0.99
    negligible: float | None = None
    drift: Drift | None = None


@dataclass(frozen=True)
class OutputJudgement:
    """A verdict on the output of a candidate, and what it rests on.

    Attributes:
        verdict: The answer.
        gate: What was asked.
        comparison: What the verdict follows from; None if the engine cannot show its output.
        reasons: Why it is no pass, the worst first.
        snapshot: Of the candidate, if the reference was no subject; None if nothing was captured.
        stored: The snapshot that it was compared with; None if nothing is stored.
    """

    verdict: Verdict
    gate: OutputGate
    comparison: OutputComparison | None
    reasons: tuple[NonEmpty, ...] = ()
    snapshot: OutputSnapshot | None = None
    stored: StoredSnapshot | None = None


@dataclass(frozen=True)
class VariantFinding:
    """What was found of one of several variants; nothing of it fails a test.

    Attributes:
        label: What tells it from the others: "flash_attn=off".
        against: The label of the first one; "" of the first one itself, or of the only one.
        comparisons: With the first one, one for each metric; none of the first one.
        output: How far it is from the first one's; None of the first one, or where none were compared.
        note: Why something could not be compared; "" if all could.
    """

    label: str
    against: str = ""
    comparisons: tuple[Comparison, ...] = ()
    output: VariantOutput | None = None
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """What became of one benchmark.

    Attributes:
        benchmark: What was asked.
        run: What was measured; None if nothing could be.
        judgements: One for each limit, in the order of the markers.
        baseline_checks: One for each gate, in the order of the marker.
        comparisons: One for each gate and claim that a reference was measured for.
        drift: From the invariants stored for the test, or those of the reference; None where no gate
            asked.
        unmet: Load options that were not in effect, of the benchmark and of what it was compared with.
        confirmation: How what regressed by stored runs was measured in pairs, or why not; "" if nothing did.
        problem: Why nothing could be measured.
        outcome: The test's own: "passed", "failed", "error" or "skipped"; "" if it did not end.
        failed_by_verdict: A verdict failed the test, and nothing else did.
        output: Where a marker asked for it. Wrong output ends a benchmark: nothing is timed.
        operators: Where it got slower, if an option asked.
        variant: Where a marker asked for it.
        inside: A server with the flags inside of a tool, and the reference, in the same sessions.
    """

    benchmark: Benchmark
    run: Run | None = None
    judgements: tuple[Judgement, ...] = ()
    baseline_checks: tuple[BaselineCheck, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    drift: Drift | None = None
    problem: str = ""
    outcome: str = ""
    failed_by_verdict: bool = False
    output: OutputJudgement | None = None
    operators: tuple[OperatorRun, ...] = ()
    unmet: tuple[Difference, ...] = ()
    confirmation: str = ""
    variant: VariantFinding | None = None
    inside: PairedRun | None = None

    @property
    def ended_by_output(self) -> bool:
        """True if wrong output ended the benchmark: its run has no values."""
        wrong = self.output is not None and self.output.verdict is Verdict.WRONG_OUTPUT
        return wrong and not (self.run is not None and self.run.sessions)
