"""Measurement in pairs of what regressed by stored values, beside the build that they are of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llm.checks import compare_runs
from pytest_llm.checks.confirmation import earlier_release, unconfirmed
from pytest_llm.errors import LLMBenchError
from pytest_llm.measure.plan import make_plan

if TYPE_CHECKING:
    from pytest_llm.checks.findings import Finding
    from pytest_llm.plugin.runner import Measuring
    from pytest_llm.records import Plan
    from pytest_llm.records.protocols import Progress


def confirmed(finding: Finding, measuring: Measuring, plan: Plan, effort: str, progress: Progress) -> Finding:
    """Return a finding with the comparisons that confirm or contradict its stored values, if it needs any.

    Args:
        finding: Judged by stored values.
        measuring: Measures the pair.
        plan: The run's; the pair's questions share its error rate.
        effort: "quick", "normal" or "thorough".
        progress: Shows each session.
    """
    regressed, run, benchmark = unconfirmed(finding), finding.run, finding.benchmark
    if not regressed or run is None:
        return finding
    earlier = earlier_release(regressed[0], run.build.release)
    if earlier is None:
        reason = "not confirmed in pairs, because they are of no other release that can be installed"
        return replace(finding, confirmation=reason)
    than = replace(benchmark.subject, build=earlier)
    gates = tuple(each.gate for each in regressed)
    asked = replace(benchmark, gates=gates, claims=(), limits=(), output=None)
    beside = replace(make_plan([asked], effort, lambda _: than), family=plan.family)
    try:
        pair = measuring.paired(beside, benchmark.subject, than, benchmark.workload, progress)
    except LLMBenchError as error:
        return replace(finding, confirmation=f"not confirmed beside {earlier}: {error}")
    decisions = measuring.decisions(plan)
    compared = tuple(compare_runs(pair, gate, decisions) for gate in gates)
    return replace(
        finding,
        comparisons=(*compared, *finding.comparisons),
        confirmation=f"measured beside {earlier} at once",
    )
