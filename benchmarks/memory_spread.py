"""By how much the memory of one build differs from itself: what a tolerance has to leave alone.

    uv run python -m benchmarks.memory_spread --runs 5

Runs the tests of ``tests/regression/test_speed.py`` as often as asked. Every run is a line of a file, so that
an interrupted program goes on where it stopped, and the table can be had again from the file alone
(``--runs 0``). The file beside this one holds the runs of the table in ``docs/memory.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.reports import results_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Line = Mapping[str, Any]

TESTS = "tests/regression/test_speed.py"
METRICS = ("peak_ram", "peak_ram_anonymous", "peak_ram_file")


def measure(build: str, effort: str) -> Line:
    """Run the tests on a build and return the line of the file: the bytes of each session of each test.

    Raises:
        SystemExit: Pytest wrote no results.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", TESTS, "-q", "--llm-bench", f"--llm-effort={effort}"),
                *(f"--llm-candidate={build}", f"--llm-json={file}"),
            ],
            check=False,
        )
        if not file.exists():
            sys.exit(f"{build}: pytest ended with {done.returncode}")
        results = results_schema.read(file)
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
    runs: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for line in lines:
        for test, metrics in line["tests"].items():
            for name, samples in metrics.items():
                sessions[name].append(spread(samples))
                runs[name, test, line["build"]].append(statistics.median(samples))
    of_runs = {
        metric: max(spread(values) for (name, *_), values in runs.items() if name == metric)
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
    had = [line["build"] for line in _read(arguments.data)]
    for build in arguments.builds.split(","):
        for _ in range(arguments.runs - had.count(build)):
            line = json.dumps(measure(build, arguments.effort))
            with arguments.data.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
    print("\n".join(table(_read(arguments.data))))


def _read(path: Path) -> list[Line]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
