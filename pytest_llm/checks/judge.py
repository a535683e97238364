"""Verdicts of one benchmark: what was measured and what was asked become a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.baseline import check_baseline, drift_from
from pytest_llm.checks.comparison import compare_runs
from pytest_llm.checks.drift import compare_sides
from pytest_llm.checks.findings import Finding
from pytest_llm.checks.limits import judge_limits
from pytest_llm.checks.unmet import unmet_of
from pytest_llm.records import PairedRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.baselines import BaselineStore, Missing
    from pytest_llm.records import Benchmark, Run
    from pytest_llm.stats.sequential import Rule


def judge(
    benchmark: Benchmark,
    measured: Run | PairedRun,
    claims: Sequence[PairedRun],
    stored: BaselineStore | Missing,
    rule: Rule,
) -> Finding:
    """Judge a benchmark by its limits, gates and claims.

    Gates are judged by the reference of a pair, and by stored runs otherwise.

    Args:
        benchmark: What was asked.
        measured: The run of its subject, alone or beside a reference.
        claims: One pair for each claim of the benchmark, in order.
        stored: The store of baselines, or why none of it counts.
        rule: The sequential rule of the pairs; its error rate is shared by ``rule.family`` verdicts.

    Raises:
        BaselineError: A file of baselines cannot be used.
    """
    claimed = tuple(
        compare_runs(pair, each, rule) for pair, each in zip(claims, benchmark.claims, strict=True)
    )
    unmet = unmet_of(measured, claims, wants_device=benchmark.wants_device)
    if isinstance(measured, PairedRun):
        return Finding(
            benchmark,
            measured.candidate,
            judgements=judge_limits(measured.candidate, benchmark.limits),
            comparisons=(*(compare_runs(measured, gate, rule) for gate in benchmark.gates), *claimed),
            drift=compare_sides(measured),
            unmet=unmet,
        )
    key = benchmark.key
    return Finding(
        benchmark,
        measured,
        judgements=judge_limits(measured, benchmark.limits),
        baseline_checks=tuple(
            check_baseline(stored, key, measured, gate, rule.family) for gate in benchmark.gates
        ),
        comparisons=claimed,
        drift=drift_from(stored, key, measured) if benchmark.gates else None,
        unmet=unmet,
    )
