"""Frozen records of what is said of runs: verdicts with what they rest on."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llm.records import JSON, Benchmark, Gate, Limit, Measurement, Run, StoredRun, Verdict


@dataclass(frozen=True)
class Judgement:
    """A verdict on one limit, and what it rests on.

    Attributes:
        verdict: The answer.
        limit: What was asked.
        measurement: What was found; None if nothing could be.
        reason: Why nothing could be found.
    """

    verdict: Verdict
    limit: Limit
    measurement: Measurement | None
    reason: str = ""


@dataclass(frozen=True)
class Screening:
    """A verdict on one metric by stored runs, and what it rests on.

    Attributes:
        verdict: The answer.
        gate: What was asked.
        measurement: What was found now; None if nothing could be.
        stored: The stored runs that it was compared with, oldest first.
        value: What they come to, in the metric's unit; None without any.
        change: Of the metric itself, now by then, less 1; None without stored runs.
        interval: Of the change; None where there are too few.
        reason: Why nothing could be said, in words; "" otherwise.
    """

    verdict: Verdict
    gate: Gate
    measurement: Measurement | None
    stored: tuple[StoredRun, ...] = ()
    value: float | None = None
    change: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Difference:
    """Something that a subject showed otherwise than before: a fact's name, then and now."""

    name: str
    before: JSON
    now: JSON


@dataclass(frozen=True)
class Drift:
    """How what a subject shows differs from what is stored of it.

    Attributes:
        differences: Facts that are others now.
        reason: Why nothing could be compared; "" if it was.
    """

    differences: tuple[Difference, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Finding:
    """What became of one benchmark.

    Attributes:
        benchmark: What was asked.
        run: What was measured; None if nothing could be.
        judgements: One for each limit, in the order of the markers.
        screenings: One for each gate, in the order of the marker.
        drift: From the facts that are stored of the test; None where no gate asked.
        problem: Why nothing could be measured.
        outcome: The test's own: "passed", "failed", "error" or "skipped".
    """

    benchmark: Benchmark
    run: Run | None = None
    judgements: tuple[Judgement, ...] = ()
    screenings: tuple[Screening, ...] = ()
    drift: Drift | None = None
    problem: str = ""
    outcome: str = ""
