"""Speed of locked-in workers against free ones, in pairs.

    uv run python -m benchmarks.sandbox

Starts a pair of workers for each session, one of them locked in, and has them generate and read prompts in
turns. The goal is that no speed differs by more than 1 %.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.order_statistics import median_interval
from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import engine_for
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import LoadOptions, Subject, Workload
from pytest_llm.system.folders import default_cache
from pytest_llm.system.sandbox import Policy

if TYPE_CHECKING:
    from pytest_llm.records.protocols import Loaded

GOAL = 0.01
STEPS = 32
WORKLOAD = Workload(prompt_tokens=256, generate_tokens=STEPS)
METRICS = ("generation", "prompt")


def start(policy: Policy) -> Loaded:
    """Return a process that has a model loaded, with a thread for each core."""
    cores = len(os.sched_getaffinity(0))
    model = ModelStore(default_cache(os.environ), builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    build = parse_build("llama-cpp-python", Path.cwd())
    options = LoadOptions(n_ctx=512, n_threads=cores, n_threads_batch=cores)
    loaded = engine_for(build, 600.0, policy=policy).start(Subject(model.name, build, options), model)
    loaded.load()
    loaded.rehearse(WORKLOAD)
    return loaded


def seconds(loaded: Loaded, metric: str) -> float:
    """Return the seconds of a token in one slice."""
    loaded.resume()
    tokens, spent = (
        loaded.generation_slice(STEPS)
        if metric == "generation"
        else loaded.prompt_slice(WORKLOAD.prompt_tokens)
    )
    loaded.end_round()
    loaded.suspend()
    return spent / tokens


def session(rounds: int, order: random.Random) -> dict[str, float]:
    """Return for each metric the median log ratio of a locked-in worker's time to a free one's."""
    with ExitStack() as stack:
        pair = [stack.enter_context(closing(start(policy))) for policy in (Policy("strict"), Policy("off"))]
        for each in pair:
            each.suspend()
        ratios: dict[str, list[float]] = {metric: [] for metric in METRICS}
        for _ in range(rounds):
            for metric in METRICS:
                first = order.randrange(2)
                times = {place: seconds(pair[place], metric) for place in (first, 1 - first)}
                ratios[metric].append(math.log(times[0] / times[1]))
        return {metric: median(found) for metric, found in ratios.items()}


def main() -> int:
    """Measure and print; exit status 1 if the goal is missed beyond doubt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    order = random.Random(0)
    found = [session(given.rounds, order) for _ in range(given.sessions)]
    missed = False
    for metric in METRICS:
        middle, low, high = median_interval([each[metric] for each in found])
        missed = missed or low > math.log1p(GOAL)
        print(
            f"{metric}: a locked-in worker takes {math.expm1(middle):+.2%} against a free one (95 % "
            f"interval {math.expm1(low):+.2%} … {math.expm1(high):+.2%}, {given.sessions} pairs of processes)"
        )
    print(f"goal: no more than {GOAL:+.0%}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
