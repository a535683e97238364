"""Speed of locked-in workers against free ones, judged by the paired rule.

    uv run python -m benchmarks.sandbox

The goal is *pass*: a locked-in worker is not slower than a free one by the tolerance or more. Exit status 1
if a metric regressed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pytest_llm import measure as measuring
from pytest_llm.checks import compare_runs
from pytest_llm.checks.comparison import summary
from pytest_llm.checks.family import Decisions
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.machine import fingerprint
from pytest_llm.machine.environment import measurement_context
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import (
    Campaign,
    Gate,
    Installed,
    LoadOptions,
    PairedRun,
    Question,
    Subject,
    Verdict,
    Workload,
)
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.side import Side
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.stats.sequential import rule_for
from pytest_llm.system.folders import default_cache
from pytest_llm.system.sandbox import Policy

WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
GATES = tuple(
    Gate(METRICS[name], 0.05) for name in ("prompt_tokens_per_second", "generation_tokens_per_second")
)
BUILD = Installed("llama-cpp-python")
TIMEOUT = 600.0


def measure() -> PairedRun:
    """Compare a locked-in candidate with a free reference."""
    threads = fingerprint.usable_cores()
    model = ModelStore(default_cache(os.environ), builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    subject = Subject(model.name, BUILD, LoadOptions(n_ctx=512, n_threads=threads, n_threads_batch=threads))
    rule = rule_for("normal", len(GATES))
    questions = tuple(Question(WORKLOAD, gate) for gate in GATES)
    campaign = Campaign(subject, (WORKLOAD,), rule.looks[-1], subject, questions)
    sides = (
        Side(subject, model, LlamaCppPython(BUILD, TIMEOUT, policy=Policy("strict"))),
        Side(subject, model, LlamaCppPython(BUILD, TIMEOUT, policy=Policy("off"))),
    )
    context = measurement_context(ProgressDisplay(print), measuring.TimeLimits(workload=3600.0))
    run = measuring.measure(campaign, sides, rule, context)[WORKLOAD]
    if not isinstance(run, PairedRun):
        raise run
    return run


def main() -> int:
    """Measure and print."""
    run = measure()
    rule = rule_for("normal", len(GATES))
    decisions = Decisions(rule, [(run, gate) for gate in GATES])
    found = [compare_runs(run, gate, decisions) for gate in GATES]
    for each in found:
        print(f"{each.verdict.value}: {summary(each)}")
    return int(any(each.verdict is Verdict.REGRESSED for each in found))


if __name__ == "__main__":
    sys.exit(main())
