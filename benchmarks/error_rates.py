"""Error rates of the paired comparison on the real engine: equal builds, sham pairs, losses and stalls.

    uv run python -m benchmarks.error_rates                            # some 5 hours, resumable
    uv run python -m benchmarks.error_rates --campaigns aa:5,loss_5:5 --data mine.jsonl
    uv run python -m benchmarks.error_rates --report                   # the tables, from the stored campaigns

Every campaign is a line of a file as soon as it ends: an interrupted run resumes. The stored file has the
campaigns of ``docs/comparing.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import platformdirs

from benchmarks.error_rate_report import GATES, LLAMA_BENCH, RULE, tables
from benchmarks.runs import keep, kept
from pytest_llm import measure as measuring
from pytest_llm.builds.provider import ANSWER_SECONDS, Provider
from pytest_llm.checks.format import ratio
from pytest_llm.cli.shams import with_library
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.machine import fingerprint
from pytest_llm.machine.environment import measurement_context
from pytest_llm.machine.qualification import sham
from pytest_llm.machine.qualification.injected import InjectedSlowdown, WithVariables
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import (
    Campaign,
    Installed,
    LoadOptions,
    PairedRun,
    Question,
    Release,
    Subject,
    Workload,
)
from pytest_llm.records.serialization import encode
from pytest_llm.records.side import Side
from pytest_llm.reports.progress import ProgressDisplay
from tests.system.faults.preload import Fault, compile_library

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.machine.qualification.sham import Sham
    from pytest_llm.records.protocols import Engine

WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
ENGINE = "llama-cpp-python"
VERSION = "0.3.36"
# With which the installed build was compiled, see [tool.uv.extra-build-variables] of pyproject.toml.
SETTINGS = ("-DGGML_NATIVE=OFF", "-DLLAVA_BUILD=OFF")
DATA = Path(__file__).with_suffix(".jsonl")
STALLS = 0.10
DIGITS = 6  # of stored seconds


class Kind(NamedTuple):
    """One row of the table: its title, how many campaigns are wanted, and the loss of every decode."""

    title: str
    wanted: int
    loss: float = 0.0


KINDS: Mapping[str, Kind] = {
    "aa": Kind("A/A", 20),
    "sham_path": Kind("sham: path and environment", 20),
    "sham_realigned": Kind("sham: realigned build", 20),
    "sham_preloaded": Kind("sham: preloaded library, fixed start order", 20),
    "loss_3": Kind("3 % injected", 10, 0.03),
    "loss_5": Kind("5 % injected", 20, 0.05),
    "loss_10": Kind("10 % injected", 5, 0.10),
    "stalls": Kind(f"{ratio(STALLS)} of slices twice as long", 20),
    LLAMA_BENCH: Kind("llama-bench twice", 10),
}


class Bench:
    """What all campaigns share."""

    def __init__(self, folder: Path, threads: int, program: str | None) -> None:
        """Take an empty folder, the threads of each side, and llama-bench if there is one."""
        cache = Path(os.environ.get("PYTEST_LLM_CACHE") or platformdirs.user_cache_dir("pytest-llm"))
        self.provider = Provider(cache, ANSWER_SECONDS)
        self._folder = folder
        self._fault = compile_library(folder)
        self._program = program
        self._model = ModelStore(cache, builtin_entries(), Path.cwd()).resolve("smollm2-135m")
        build = Installed(ENGINE)
        options = LoadOptions(n_ctx=512, n_threads=threads, n_threads_batch=threads)
        engine = LlamaCppPython(build, ANSWER_SECONDS)
        self._plain = Side(Subject(self._model.name, build, options), self._model, engine)

    def measure(self, name: str, number: int, sessions: int | None) -> dict[str, Any]:
        """Run one campaign and return its line of the file."""
        line = {"kind": name, "load": os.getloadavg()[0], "machine": fingerprint.parts()}
        if name == "sham_realigned":
            _ = self._realigned  # compiled before the time counts
        started = time.monotonic()
        line |= self._llama_bench() if name == LLAMA_BENCH else self._campaign(name, number, sessions)
        return {**line, "seconds": round(time.monotonic() - started, 1)}

    def _campaign(self, name: str, number: int, sessions: int | None) -> dict[str, Any]:
        context = measurement_context(ProgressDisplay(lambda _: None), measuring.TimeLimits(workload=3600.0))
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            kind = self._sham(name, Path(folder))
            if kind is None:
                sides = self._altered(name), self._plain
            else:
                sides, context = kind.swapped(self._plain, number), kind.around(context, number)
            rule = replace(RULE, looks=tuple(min(sessions or each, each) for each in RULE.looks))
            subject = self._plain.subject
            questions = tuple(Question(WORKLOAD, gate) for gate in GATES)
            campaign = Campaign(subject, (WORKLOAD,), rule.looks[-1], subject, questions)
            run = measuring.measure(campaign, sides, rule, context)[WORKLOAD]
        if not isinstance(run, PairedRun):
            raise run
        return {
            "altered": "reference" if kind is not None and number % 2 else "candidate",
            "build": f"{run.reference.build}, {run.reference.build.compiled_with}",
            "turns": [{name: encode(each) for name, each in turns.items()} for turns in run.turns],
            "candidate": [_series(each.series) for each in run.candidate.sessions],
            "reference": [_series(each.series) for each in run.reference.sessions],
        }

    def _altered(self, name: str) -> Side:
        engine = self._plain.engine
        if name == "stalls":
            return self._plain._replace(engine=InjectedSlowdown(engine, 0.0, STALLS))
        loss = KINDS[name].loss
        fault = Fault(slowdown=loss).environment(self._fault) if loss else {}
        return self._plain._replace(engine=WithVariables(engine, fault))

    def _sham(self, name: str, folder: Path) -> Sham | None:
        if name == "sham_path":
            libraries = Path(self.provider.describe(self._plain.subject.build, print).library).parent
            return sham.paths(libraries, folder, with_library)
        if name == "sham_preloaded":
            return sham.preloaded(self._fault)
        if name == "sham_realigned":
            return sham.realigned(self._realigned)
        return None

    @cached_property
    def _realigned(self) -> Engine:
        build = Release(ENGINE, VERSION, sham.realigned_settings(SETTINGS))
        return self.provider.engine(build, lambda line: print(line, flush=True))

    def _llama_bench(self) -> dict[str, Any]:
        """Run llama-bench twice as people do: five repetitions each; return its tokens per second."""
        assert self._program is not None
        subject = self._plain.subject
        work = ["-p", str(WORKLOAD.prompt_tokens), "-n", str(WORKLOAD.generate_tokens), "-r", "5"]
        threads = str(subject.load_options.n_threads)
        words = ["-m", self._model.path, *work, "-t", threads, "-o", "json"]
        runs = []
        for _ in range(2):
            done = subprocess.run([self._program, *words], capture_output=True, text=True, check=True)
            runs.append([each["avg_ts"] for each in json.loads(done.stdout)])
        return {"runs": runs}


def _series(series: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name in ("prompt", "generation"):
        each = series[name]
        values = tuple(round(value, DIGITS) for value in each.values)
        found[name] = encode(replace(each, values=values))
    return found


def _wanted(text: str) -> dict[str, int]:
    """Return how many campaigns of each kind are asked for."""
    found = {}
    for each in text.split(","):
        name, _, count = each.partition(":")
        if name not in KINDS or not (count or "1").isdigit():
            sys.exit(f"{each!r} is no campaign: KIND:HOW_MANY, with KIND one of {', '.join(KINDS)}")
        found[name] = int(count) if count else KINDS[name].wanted
    return found


def main() -> None:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--campaigns", default=",".join(KINDS), help="KIND or KIND:HOW_MANY,…")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--threads", type=int, default=fingerprint.usable_cores())
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no campaign after these")
    parser.add_argument("--sessions", type=int, help="at most so many a campaign: a trial, not for the table")
    parser.add_argument("--llama-bench", help="the program; without it, its campaigns are left out")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.report:
        _measure_missing(_wanted(arguments.campaigns), arguments)
    print("\n".join(report(arguments.data)))


def report(data: Path = DATA) -> list[str]:
    """Return the tables of a file, in Markdown."""
    return tables({name: kind.title for name, kind in KINDS.items()}, kept(data))


def _measure_missing(wanted: Mapping[str, int], arguments: argparse.Namespace) -> None:
    if LLAMA_BENCH in wanted and arguments.llama_bench is None:
        print("left out: llama-bench, whose program --llama-bench names", flush=True)
        wanted = {name: count for name, count in wanted.items() if name != LLAMA_BENCH}
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.threads, arguments.llama_bench)
        with closing(bench.provider):
            while time.monotonic() < end:
                made = [each["kind"] for each in kept(arguments.data)]
                missing = [name for name, count in wanted.items() if made.count(name) < count]
                if not missing:
                    return
                # In turns, so that an interrupted run has some of each, and drift hits all alike.
                name = max(missing, key=lambda each: (wanted[each] - made.count(each)) / wanted[each])
                line = bench.measure(name, made.count(name), arguments.sessions)
                keep(line, arguments.data)
                sessions = len(line.get("candidate", ()))
                print(f"{KINDS[name].title}: {sessions} sessions, {line['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
