"""Error rates of the paired comparison on the real engine, beside rules in common use.

    uv run python -m benchmarks.error_rates --campaigns 0:20,5:20,10:5

Compares the installed build with itself, slowed down by the given per cent, as often as asked, and prints the
verdicts. Every campaign is a line of a file: an interrupted run resumes, and ``--report`` prints the table
from the file alone. The stored file has the campaigns of ``docs/comparing.md``; ``--data`` names another.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from benchmarks.error_rate_report import lines
from pytest_llm import measure as measuring
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.machine import fingerprint
from pytest_llm.machine.environment import measurement_context
from pytest_llm.machine.qualification.injected import WithVariables
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import (
    Campaign,
    Gate,
    Installed,
    LoadOptions,
    PairedRun,
    Question,
    Subject,
    Workload,
)
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.serialization import encode
from pytest_llm.records.side import Side
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.stats.sequential import rule_for
from tests.system.faults.preload import Fault, compile_library

if TYPE_CHECKING:
    from collections.abc import Mapping


WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
GATES = tuple(
    Gate(METRICS[name], 0.05) for name in ("prompt_tokens_per_second", "generation_tokens_per_second")
)
BUILD = Installed("llama-cpp-python")
TIMEOUT = 600.0


def measure(injected: float, library: Path, threads: int) -> dict[str, Any]:
    """Run one campaign and return its line of the file."""
    cache = Path(os.environ.get("PYTEST_LLM_CACHE") or platformdirs.user_cache_dir("pytest-llm"))
    model = ModelStore(cache, builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    subject = Subject(model.name, BUILD, LoadOptions(n_ctx=512, n_threads=threads, n_threads_batch=threads))
    fault = Fault(slowdown=injected).environment(library) if injected else {}
    rule = rule_for("normal", len(GATES))
    campaign = Campaign(
        subject, (WORKLOAD,), rule.looks[-1], subject, tuple(Question(WORKLOAD, gate) for gate in GATES)
    )
    started = time.monotonic()
    reference = Side(subject, model, LlamaCppPython(BUILD, TIMEOUT))
    candidate = reference._replace(engine=WithVariables(reference.engine, fault))
    context = measurement_context(ProgressDisplay(lambda _: None), measuring.TimeLimits(workload=3600.0))
    run = measuring.measure(campaign, (candidate, reference), rule, context)[WORKLOAD]
    if not isinstance(run, PairedRun):
        raise run
    return {
        "injected": injected,
        "seconds": time.monotonic() - started,
        "threads": threads,
        "build": f"{run.reference.build}, {run.reference.build.compiled_with}",
        "machine": fingerprint.parts(),
        "load": os.getloadavg()[0],
        "turns": [encode(each) for each in run.turns],
        "candidate": [_kept(each.series) for each in run.candidate.sessions],
        "reference": [_kept(each.series) for each in run.reference.sessions],
    }


def _kept(series: Mapping[str, Any]) -> dict[str, Any]:
    return {name: encode(series[name]) for name in ("prompt", "generation")}


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--campaigns", default="0:20,3:10,5:20,10:5", help="PER_CENT:HOW_MANY,…")
    parser.add_argument("--data", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--threads", type=int, default=fingerprint.usable_cores())
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no campaign after these")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.report:
        _measure_missing(arguments)
    print("\n".join(lines(_read(arguments.data))))


def _measure_missing(arguments: argparse.Namespace) -> None:
    wanted = {
        float(share) / 100: int(count)
        for share, _, count in (each.partition(":") for each in arguments.campaigns.split(","))
    }
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(Path(folder))
        while time.monotonic() < end:
            made = [each["injected"] for each in _read(arguments.data)]
            missing = [share for share, count in wanted.items() if made.count(share) < count]
            if not missing:
                return
            # In turns, so that an interrupted run has some of each, and drift hits all alike.
            share = max(missing, key=lambda share: (wanted[share] - made.count(share)) / wanted[share])
            line = measure(share, library, arguments.threads)
            with arguments.data.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{share:.0%}: {len(line['candidate'])} sessions, {line['seconds']:.0f} s", flush=True)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
