"""The texts that a failed test shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_llm.checks import verdicts as verdicts_of
from pytest_llm.checks import worst
from pytest_llm.errors import EngineError, LLMBenchError
from pytest_llm.plugin.state import WORST
from pytest_llm.records import Claim, Gate
from pytest_llm.system.text import LONGEST_LINE, clean

if TYPE_CHECKING:
    from pytest_llm.checks.findings import Finding


def message(error: LLMBenchError) -> str:
    """Return an error's line, and below it the last lines of the engine that explain it."""
    lines = [clean(error, LONGEST_LINE)]
    if isinstance(error, EngineError):
        lines += [f"  | {line}" for line in error.log]
    return "\n".join(lines)


def engine_log(error: BaseException) -> str:
    """Return the last lines of the engine whose failure ended a test, "" if it was anything else."""
    return "\n".join(error.log) if isinstance(error, EngineError) else ""


def properties(finding: Finding) -> list[tuple[str, object]]:
    """Return what JUnit files and other processes get to know of a benchmark: JSON objects by metric name."""
    assert finding.run is not None
    values = {name: each.value for name, each in finding.run.measurements.items()}
    verdicts = {each.limit.metric.name: each.verdict.value for each in finding.judgements}
    baselines = {each.gate.metric.name: each.verdict.value for each in finding.baseline_checks}
    asked: dict[type, dict[str, object]] = {Gate: {}, Claim: {}}
    for each in finding.comparisons:
        asked[type(each.asked)][each.asked.metric.name] = each.verdict.value
    by_metric = {
        "llm_metrics": values,
        "llm_verdicts": verdicts,
        "llm_baseline_verdicts": baselines,
        "llm_comparison_verdicts": asked[Gate],
        "llm_claim_verdicts": asked[Claim],
    }
    # As text, for JUnit files write anything else as Python does.
    found: list[tuple[str, object]] = [(name, json.dumps(each)) for name, each in by_metric.items()]
    if finding.output is not None:
        found.append(("llm_output_verdict", finding.output.verdict.value))
    verdict = worst(verdicts_of(finding))
    return found if verdict is None else [*found, (WORST, verdict.value)]
