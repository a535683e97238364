"""Frozen records of what is said of runs: verdicts with what they rest on."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llm.records import Benchmark, Limit, Measurement, Run, Verdict


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
class Finding:
    """What became of one benchmark.

    Attributes:
        benchmark: What was asked.
        run: What was measured; None if nothing could be.
        judgements: One for each limit, in the order of the markers.
        problem: Why nothing could be measured.
        outcome: The test's own: "passed", "failed", "error" or "skipped".
    """

    benchmark: Benchmark
    run: Run | None = None
    judgements: tuple[Judgement, ...] = ()
    problem: str = ""
    outcome: str = ""
