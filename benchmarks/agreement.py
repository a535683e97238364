"""Agreement of speeds: slices against whole requests, and against llama-bench at equal positions.

    uv run python -m benchmarks.agreement --llama-bench PROGRAM

For each workload, a round of slices and a whole request of one process alternate, and with a program a test
of prompt and one of generation by llama-bench (``-d`` depth, and depth and prompt), whose processes are
stopped in between. Printed are the median ratios with their intervals. The goals: generation speed times
inter-token latency is within 3 % of 1; against the llama-bench of the same library, both are within 1 %.

Two things of llama-bench would be compared with something else: it makes the graph of one token before it
times, so that ours are without the first slice after a prompt; and it restores a depth that it has decoded
before, which makes what follows faster, so that its depths alternate.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from benchmarks.order_statistics import median_interval
from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import engine_for
from pytest_llm.machine.environment import measurement_context
from pytest_llm.measure import TimeLimits
from pytest_llm.measure.budgets import Budget, Budgets
from pytest_llm.measure.rounds import Cut, awake, cut, measure_rounds, pace_of
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import LoadOptions, Subject, Workload
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.system.folders import default_cache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from pytest_llm.records import Model
    from pytest_llm.records.protocols import Loaded

# Those of tests/regression.
WORKLOADS = {
    "chat": Workload(128, 64),
    "long": Workload(1280, 16),
    "deep": Workload(128, 64, depth=1024),
}
ONCE = Budgets(Budget(1, 1, 0.0), Budget(1, 1, 0.0))


class LlamaBench:
    """One process of llama-bench that repeats a test; stopped but for while :meth:`speed` waits for it."""

    def __init__(self, program: str, model: str, threads: int, test: Sequence[str], times: int) -> None:
        """Start a program for so many pairs of tests, and stop it before the first of them is timed."""
        *words, depths = test
        words = [*words, ",".join([depths] * times)]
        command = [program, "-m", model, "-t", str(threads), "-r", "1", "-o", "jsonl", *words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.speed()  # which loads the model, too

    def speed(self) -> float:
        """Return the tokens per second of the next test; end the benchmark if the program ended."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGCONT)
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"llama-bench ended with exit status {self._process.wait()}; its reason stands above")
        # What follows, until the next time, is its next context and its warm-up.
        self._process.send_signal(signal.SIGSTOP)
        return float(json.loads(line)["samples_ts"][0])

    def __enter__(self) -> LlamaBench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def speeds(loaded: Loaded, workload: Workload, slices: Cut) -> Mapping[str, float]:
    """Return the speeds of one round, and the mean inter-token latency of a request."""
    context = measurement_context(ProgressDisplay(lambda _: None), TimeLimits(workload=math.inf))
    with awake(loaded):
        (series,), _ = measure_rounds([loaded], workload, slices, ONCE, context, requests=1)

    def speed(name: str, begin: int = 0) -> float:
        each = series[name]
        return sum(each.each_tokens()[begin:]) / sum(each.values[begin:])

    return {
        "prompt": speed("prompt"),
        "whole": speed("generation"),
        "generation": speed("generation", begin=1),
        "latency": fmean(series["inter_token"].values),
    }


def compare(workload: Workload, model: Model, program: str | None, alternations: int) -> list[str]:
    """Return lines with the ratios of one workload."""
    threads = len(os.sched_getaffinity(0))
    prompt, generated, depth = workload.prompt_tokens, workload.generate_tokens, workload.depth
    # The context that llama-bench makes, rounded up as llama.cpp does: the stride of the cache counts, too.
    n_ctx = -(-(depth + prompt + generated) // 256) * 256
    options = LoadOptions(n_ctx=n_ctx, n_threads=threads, n_threads_batch=threads)
    build = parse_build("llama-cpp-python", Path.cwd())
    ratios: dict[str, list[float]] = {}
    with ExitStack() as stack:
        ours = stack.enter_context(
            closing(engine_for(build, 600.0).start(Subject(model.name, build, options), model))
        )
        ours.load()
        slices = cut(workload, [pace_of(ours, ours.rehearse(workload))])
        ours.suspend()
        behind = depth + prompt + slices.generation[0]
        tests = {
            "prompt": ("-p", str(prompt), "-n", "0", "-d", f"{depth},{depth + 1}"),
            "generation": ("-p", "0", "-n", str(sum(slices.generation[1:])), "-d", f"{behind},{behind + 1}"),
        }
        theirs = {
            name: stack.enter_context(
                LlamaBench(program, str(model.path), threads, test, alternations // 2 + 1)
            )
            for name, test in tests.items()
            if program
        }
        for _ in range(alternations):
            mine: Mapping[str, float] = {}
            others = {}
            for name in random.sample(["ours", *theirs], 1 + len(theirs)):
                if name == "ours":
                    mine = speeds(ours, workload, slices)
                else:
                    others[name] = theirs[name].speed()
            ratios.setdefault("generation speed x inter-token latency", []).append(
                math.log(mine["whole"] * mine["latency"])
            )
            for name, value in others.items():
                ratios.setdefault(f"{name} speed / llama-bench's", []).append(math.log(mine[name] / value))
    return [line(what, values) for what, values in ratios.items()]


def line(what: str, log_ratios: list[float]) -> str:
    """Return the words of a median ratio and its interval."""
    middle, low, high = (math.exp(each) for each in median_interval(log_ratios))
    return f"  {what}: {middle:.3f} (95 % interval {low:.3f} … {high:.3f}, {len(log_ratios)} alternations)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--llama-bench", help="the program of the same library")
    parser.add_argument("--alternations", type=int, default=100)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help=", ".join(WORKLOADS))
    given = parser.parse_args()
    model = ModelStore(default_cache(os.environ), builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    for name in given.workloads.split(","):
        print(f"{name}: {WORKLOADS[name]}", flush=True)
        print("\n".join(compare(WORKLOADS[name], model, given.llama_bench, given.alternations)), flush=True)


if __name__ == "__main__":
    main()
