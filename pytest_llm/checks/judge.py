"""Verdicts of one benchmark: what was measured and what was asked become a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.anchored import check_anchored, has_ratio
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
    from pytest_llm.checks.family import Decisions
    from pytest_llm.records import Benchmark, Run


def judge(
    benchmark: Benchmark,
    measured: Run | PairedRun,
    claims: Sequence[PairedRun],
    stored: BaselineStore | Missing,
    decisions: Decisions,
    *,
    anchored: bool = False,
) -> Finding:
    """Judge a benchmark by its limits, gates and claims.

    A pair is judged by its reference or, if that is the anchor, by stored ratios to it; a run alone by stored
    runs.

    Args:
        benchmark: What was asked.
        measured: The run of its subject, alone or beside a reference.
        claims: One pair for each claim of the benchmark, in order.
        stored: The store of baselines, or why none of it counts.
        decisions: Those on all gates and claims that pairs answer, made together.
        anchored: The reference of a pair is the anchor.

    Raises:
        BaselineError: A file of baselines cannot be used.
    """
    claimed = tuple(
        compare_runs(pair, each, decisions) for pair, each in zip(claims, benchmark.claims, strict=True)
    )
    unmet = unmet_of(measured, claims, wants_device=benchmark.wants_device)
    if isinstance(measured, PairedRun) and not anchored:
        return Finding(
            benchmark,
            measured.candidate,
            judgements=judge_limits(measured.candidate, benchmark.limits),
            comparisons=(*(compare_runs(measured, gate, decisions) for gate in benchmark.gates), *claimed),
            drift=compare_sides(measured),
            unmet=unmet,
        )
    key, run = benchmark.key, measured.candidate if isinstance(measured, PairedRun) else measured
    return Finding(
        benchmark,
        run,
        judgements=judge_limits(run, benchmark.limits),
        baseline_checks=tuple(
            check_anchored(stored, key, measured, gate, decisions.rule.family)
            if isinstance(measured, PairedRun) and has_ratio(gate.metric)
            else check_baseline(stored, key, run, gate, decisions.rule.family, decisions.rule.tau)
            for gate in benchmark.gates
        ),
        comparisons=claimed,
        drift=drift_from(stored, key, run) if benchmark.gates else None,
        unmet=unmet,
    )
