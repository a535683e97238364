"""Agreement of speeds: slices against whole requests, and against llama-bench at equal positions.

    uv run python -m benchmarks.agreement --llama-bench PROGRAM

For each workload, a round of slices and a whole request of the same process alternate, and with a program a
process of llama-bench (``-d`` depth and prompt) as well. Printed are the median ratios with their intervals.
The goals: generation speed times inter-token latency is within 3 % of 1; against the llama-bench of the same
library, both speeds are within 1 % of 1.
"""

from __future__ import annotations

import argparse
import math
import os
from contextlib import closing
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from benchmarks.order_statistics import median_interval
from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import engine_for
from pytest_llm.machine.environment import measurement_context
from pytest_llm.measure import TimeLimits
from pytest_llm.measure.rounds import Budget, Budgets, awake, cut, measure_rounds, pace_of
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import LoadOptions, Subject, Workload
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.system.coin import toss
from pytest_llm.system.folders import default_cache

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import Model
    from pytest_llm.records.protocols import Loaded

# Those of tests/regression.
WORKLOADS = (Workload(128, 64), Workload(1280, 16), Workload(128, 64, depth=1024))
ONCE = Budgets(Budget(1, 1, 0.0), Budget(1, 1, 0.0))


def speeds(loaded: Loaded, workload: Workload, step_seconds: float) -> Mapping[str, float]:
    """Return the speeds of one round, and the mean inter-token latency of a request if there is one."""
    requests = int(loaded.coverage(workload).requests)
    slices = cut(workload, [pace_of(loaded, step_seconds)])
    context = measurement_context(ProgressDisplay(lambda _: None), TimeLimits(workload=math.inf))
    (series,), _ = measure_rounds([loaded], workload, slices, ONCE, context, requests)
    found = {
        name: sum(series[name].each_tokens()) / sum(series[name].values) for name in ("prompt", "generation")
    }
    return {**found, "latency": fmean(series["inter_token"].values)} if requests else found


def compare(workload: Workload, model: Model, program: str | None, alternations: int) -> list[str]:
    """Return lines with the ratios of one workload."""
    cores = len(os.sched_getaffinity(0))
    options = LoadOptions(n_ctx=2048, n_threads=cores, n_threads_batch=cores)
    names = ["llama-cpp-python", *([f"llama-bench@bin:{program}"] if program else [])]
    builds = [parse_build(name, Path.cwd()) for name in names]
    ratios: dict[str, list[float]] = {}
    ours = engine_for(builds[0], 600.0).start(Subject(model.name, builds[0], options), model)
    with closing(ours):
        ours.load()
        step_seconds = ours.rehearse(workload)
        ours.suspend()
        theirs = None
        if program:
            theirs = engine_for(builds[1], 600.0).start(Subject(model.name, builds[1], options), model)
            theirs.load()
            theirs.rehearse(workload)
        for _ in range(alternations):
            first = toss()
            before = speeds(theirs, workload, 0.0) if theirs and first else {}
            with awake(ours):
                mine = speeds(ours, workload, step_seconds)
            other = before or (speeds(theirs, workload, 0.0) if theirs else {})
            ratios.setdefault("generation speed x inter-token latency", []).append(
                math.log(mine["generation"] * mine["latency"])
            )
            for name, value in other.items():
                ratios.setdefault(f"{name} speed / llama-bench's", []).append(math.log(mine[name] / value))
    lines = []
    for what, values in ratios.items():
        middle, low, high = (math.exp(each) for each in median_interval(values))
        lines.append(
            f"  {what}: {middle:.3f} (95 % interval {low:.3f} … {high:.3f}, {len(values)} alternations)"
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--llama-bench", help="the program of the same library")
    parser.add_argument("--alternations", type=int, default=12)
    given = parser.parse_args()
    model = ModelStore(default_cache(os.environ), builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    for workload in WORKLOADS:
        print(workload)
        print("\n".join(compare(workload, model, given.llama_bench, given.alternations)), flush=True)


if __name__ == "__main__":
    main()
