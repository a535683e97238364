"""From a run and its limits to verdicts, each able to explain itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.findings import Judgement
from pytest_llm.inference.estimates import measure
from pytest_llm.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import Limit, Run


def judge(run: Run, limits: Sequence[Limit]) -> list[Judgement]:
    """Judge a run by absolute limits; a limit is inclusive and judged on the value."""
    return [_judge(run, limit) for limit in limits]


def _judge(run: Run, limit: Limit) -> Judgement:
    metric = limit.metric
    series = [session.series.get(metric.series) for session in run.sessions]
    found = [each for each in series if each is not None and each.values]
    if not found or len(found) < len(series):
        reason = f"{metric.title} cannot be had from {run.build} on this system"
        return Judgement(Verdict.NOT_COVERED, limit, None, reason)
    measurement = measure(metric, found)
    higher = metric.better == "higher"
    kept = measurement.value >= limit.bound if higher else measurement.value <= limit.bound
    return Judgement(Verdict.PASS if kept else Verdict.OVER_LIMIT, limit, measurement)


def explain(judgement: Judgement, run: Run) -> str:
    """Say in a few lines what was found, by how much, on what."""
    return "\n".join([headline(judgement), *(f"  {line}" for line in context(run))])


def headline(judgement: Judgement) -> str:
    """Say in one line what a limit's verdict rests on."""
    metric, measurement = judgement.limit.metric, judgement.measurement
    if measurement is None:
        return judgement.reason
    value, bound = metric.unit.format_apart(measurement.value, judgement.limit.bound)
    lowest, highest = (
        metric.unit.format(edge) for edge in (min(measurement.samples), max(measurement.samples))
    )
    side = "at least" if metric.better == "higher" else "at most"
    share = measurement.value / judgement.limit.bound - 1 if judgement.limit.bound else 0.0
    count = len(measurement.samples)
    sessions = f"{count} session{'s' if count > 1 else ''}"
    if metric.pooled:  # a percentile over all of them may lie outside what each says alone
        sessions += " together; each alone"
    else:
        sessions += ","
    return (
        f"{metric.title} is {value}, the limit is {side} {bound}: {_percent(share)} "
        f"({sessions} {lowest} … {highest})"
    )


def context(run: Run) -> list[str]:
    """Say on what a run was made, a line for each part of it."""
    model, work, options = run.model, run.workload, run.subject.load_options
    parallel = f", {work.parallel} in parallel" if work.parallel > 1 else ""
    return [
        f"candidate {run.build}",
        f"model {model.name} ({model.architecture}, {model.quantization}, "
        f"{model.parameters / 1e6:.1f} M parameters), n_ctx={options.n_ctx}, "
        f"n_threads={options.n_threads}",
        f"workload {work.prompt_tokens} prompt tokens, {work.generate_tokens} generated, "
        f"depth {work.depth}{parallel}",
    ]


def _percent(share: float) -> str:
    text = f"{share * 100:+.1f} %".replace("-", "−")
    return "off by less than 0.1 %" if text.strip("+−") == "0.0 %" and share else text
