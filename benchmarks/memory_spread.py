"""Differences in memory of one build from itself, which a tolerance must exceed.

    uv run python -m benchmarks.memory_spread --runs 5

Runs the tests of ``tests/regression/speed.llm.toml`` as often as asked. Every run is a line of a file: an
interrupted program resumes, and ``--runs 0`` prints the table from the file alone. The stored file has the
runs of ``docs/memory.md``.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Line = Mapping[str, Any]

TESTS = "tests/regression/speed.llm.toml"
METRICS = ("peak_ram", "peak_ram_anonymous", "peak_ram_file")


def measure(build: str, effort: str) -> Line:
    """Run the tests on a build and return the line of the file: the bytes of each session of each test.

    Raises:
        SystemExit: Pytest wrote no results.
    """
    results = runs.measure(TESTS, effort, f"--llm-candidate={build}")
    return {
        "build": build,
        "started": results["started"],
        "machine": results["machine"],
        "tests": {
            test["key"]["name"]: {name: test["metrics"][name]["samples"] for name in METRICS}
            for test in results["tests"]
            if test["run"]
        },
    }


def table(lines: Sequence[Line]) -> list[str]:
    """Return the largest log ratios: of two sessions of a run, and of two runs of a build."""
    sessions: dict[str, list[float]] = defaultdict(list)
    medians: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for line in lines:
        for test, metrics in line["tests"].items():
            for name, samples in metrics.items():
                sessions[name].append(spread(samples))
                medians[name, test, line["build"]].append(statistics.median(samples))
    of_runs = {
        metric: max(spread(values) for (name, *_), values in medians.items() if name == metric)
        for metric in sessions
    }
    builds = sorted({line["build"] for line in lines})
    return [
        f"{len(lines)} runs of {', '.join(builds)}; each test's largest log ratio",
        "",
        f"| | {' | '.join(f'`{name}`' for name in sessions)} |",
        f"| --- {'| ---: ' * len(sessions)}|",
        f"| two runs | {' | '.join(f'{of_runs[name]:.2%}' for name in sessions)} |",
        f"| two sessions of a run | {' | '.join(f'{max(sessions[name]):.2%}' for name in sessions)} |",
    ]


def spread(values: Iterable[float]) -> float:
    """Return the log ratio of the largest value and the smallest."""
    ordered = sorted(values)
    return math.log(ordered[-1] / ordered[0])


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each build")
    parser.add_argument("--builds", default="llama-cpp-python", help="separated by commas")
    parser.add_argument("--effort", default="quick", help="as of pytest")
    parser.add_argument("--data", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    arguments = parser.parse_args()
    had = [line["build"] for line in runs.kept(arguments.data)]
    for build in arguments.builds.split(","):
        for _ in range(arguments.runs - had.count(build)):
            runs.keep(measure(build, arguments.effort), arguments.data)
    print("\n".join(table(runs.kept(arguments.data))))


if __name__ == "__main__":
    main()
