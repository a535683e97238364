"""Losses and alarms of ratios to an anchor on the real engine.

    uv run python -m benchmarks.anchored --runs 5:5,0:5

Measures the installed build beside itself as anchor: first the runs to store, then, in turns, runs of a build
slowed down by the given per cent, each judged by the stored ones. Every run of five paired sessions is a line
of a file: an interrupted benchmark resumes, and ``--report`` prints the table from the file alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from benchmarks.runs import keep, kept
from pytest_llm import measure as measuring
from pytest_llm.baselines import Missing
from pytest_llm.checks.anchored import check_ratios, ratios_of
from pytest_llm.checks.findings import Anchored
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.machine import fingerprint
from pytest_llm.machine.environment import measurement_context
from pytest_llm.machine.qualification.injected import WithVariables
from pytest_llm.measure.plan import ANCHORED_SESSIONS
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import (
    Campaign,
    Gate,
    Installed,
    LoadOptions,
    PairedRun,
    Provenance,
    Session,
    StoredRun,
    Subject,
    Verdict,
    Workload,
)
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.serialization import decode, encode
from pytest_llm.records.side import Side
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.stats.prediction import spread_of
from pytest_llm.stats.sequential import rule_for
from tests.bare import RUN
from tests.system.faults.preload import Fault, compile_library

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
GATES = tuple(
    Gate(METRICS[name], 0.05) for name in ("prompt_tokens_per_second", "generation_tokens_per_second")
)
BUILD = Installed("llama-cpp-python")
TIMEOUT = 600.0
DATA = Path(__file__).with_suffix(".jsonl")
STORED = 10


def measure(injected: float, library: Path, threads: int) -> dict[str, Any]:
    """Run five paired sessions and return their line of the file."""
    cache = Path(os.environ.get("PYTEST_LLM_CACHE") or platformdirs.user_cache_dir("pytest-llm"))
    model = ModelStore(cache, builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    subject = Subject(model.name, BUILD, LoadOptions(n_ctx=512, n_threads=threads, n_threads_batch=threads))
    fault = Fault(slowdown=injected).environment(library) if injected else {}
    campaign = Campaign(subject, (WORKLOAD,), ANCHORED_SESSIONS, subject, anchored=True)
    started = time.monotonic()
    anchor = Side(subject, model, LlamaCppPython(BUILD, TIMEOUT))
    candidate = anchor._replace(engine=WithVariables(anchor.engine, fault))
    context = measurement_context(ProgressDisplay(lambda _: None), measuring.TimeLimits(workload=3600.0))
    rule = rule_for("normal", len(GATES))
    run = measuring.measure(campaign, (candidate, anchor), rule, context)[WORKLOAD]
    if not isinstance(run, PairedRun):
        raise run
    return {
        "injected": injected,
        "seconds": time.monotonic() - started,
        "threads": threads,
        "build": f"{run.reference.build}, {run.reference.build.compiled_with}",
        "machine": fingerprint.parts(),
        "load": os.getloadavg()[0],
        "candidate": [_speeds(each.series) for each in run.candidate.sessions],
        "anchor": [_speeds(each.series) for each in run.reference.sessions],
    }


def _speeds(series: Mapping[str, Any]) -> dict[str, Any]:
    return {name: encode(series[name]) for name in ("prompt", "generation")}


def report(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the table: how many runs of each kind have which verdict, judged by the first runs as stored."""
    stored, others = [_pair(each) for each in lines[:STORED]], lines[STORED:]
    yield "| slowed down by | runs | regressed | pass | other | seconds (median) |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for share in sorted({each["injected"] for each in others}):
        runs = [each for each in others if each["injected"] == share]
        found = [_verdicts(stored, _pair(each)) for each in runs]
        called = sum(Verdict.REGRESSED in each for each in found)
        passed = sum(set(each) == {Verdict.PASS} for each in found)
        seconds = sorted(each["seconds"] for each in runs)[len(runs) // 2]
        rest = len(runs) - called - passed
        yield f"| {share:.0%} | {len(runs)} | {called} | {passed} | {rest} | {seconds:.0f} |"


def _pair(line: Mapping[str, Any]) -> PairedRun:
    def side(name: str) -> Any:
        sessions = tuple(decode(Session, {"series": each}) for each in line[name])
        return RUN.__class__(**{**vars(RUN), "workload": WORKLOAD, "sessions": sessions})

    return PairedRun(side("candidate"), side("anchor"))


def _verdicts(stored: Sequence[PairedRun], new: PairedRun) -> list[Verdict]:
    ratios = {gate.metric.name: [ratios_of(gate.metric, each) for each in stored] for gate in GATES}
    runs = {
        name: [StoredRun(each.typical, Provenance(), whole=each.whole) for each in found if each is not None]
        for name, found in ratios.items()
    }
    spread = spread_of([[each.value for each in found] for found in runs.values()])
    whole = spread_of([[each.whole for each in found if each.whole is not None] for found in runs.values()])
    anchored = Anchored(new, spread=spread, whole_spread=whole)
    return [
        check_ratios(anchored, gate, runs[gate.metric.name], len(GATES), Missing("nothing is stored")).verdict
        for gate in GATES
    ]


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", default="5:5,0:5", help="PER_CENT:HOW_MANY,… after the stored ones")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--threads", type=int, default=fingerprint.usable_cores())
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after these")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.report:
        _measure_missing(arguments)
    print("\n".join(report(kept(arguments.data))))


def _measure_missing(arguments: argparse.Namespace) -> None:
    end = time.monotonic() + 60 * arguments.minutes
    wanted = {
        float(share) / 100: int(count)
        for share, _, count in (each.partition(":") for each in arguments.runs.split(","))
    }
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(Path(folder))
        while time.monotonic() < end:
            made = [each["injected"] for each in kept(arguments.data)]
            missing = [share for share, count in wanted.items() if made[STORED:].count(share) < count]
            if len(made) >= STORED and not missing:
                return
            # After the stored ones in turns, so that drift hits all alike.
            share = 0.0 if len(made) < STORED else min(missing, key=made[STORED:].count)
            line = measure(share, library, arguments.threads)
            keep(line, arguments.data)
            print(f"{share:.0%}: {len(line['candidate'])} sessions, {line['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
