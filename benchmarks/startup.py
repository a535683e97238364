"""Time that the plugin adds to a run of pytest that has nothing to do with models.

    uv run python benchmarks/startup.py

Collects one empty test, in pairs with and without the plugin, in an order drawn by coin flip, and prints the
difference with a 95 % interval. The goal is 15 ms at most.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.order_statistics import median_interval

GOAL_MS = 15.0
WITHOUT = ["-p", "no:llm_bench"]
# Off in both: what they do is noise here, and hundreds of milliseconds of it.
OTHERS = [
    word
    for name in ("benchmark", "hypothesispytest", "xdist", "timeout", "codspeed", "cacheprovider")
    for word in ("-p", f"no:{name}")
]


def collect(folder: Path, arguments: list[str]) -> float:
    """Return the milliseconds that one collection takes."""
    # Bytecode is kept, as it is on any user's second run.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *OTHERS, *arguments]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def pair(folder: Path) -> float:
    """Return how many milliseconds more one collection takes with the plugin."""
    times: dict[bool, float] = {}
    for plugin in random.sample([True, False], 2):
        times[plugin] = collect(folder, [] if plugin else WITHOUT)
    return times[True] - times[False]


def main() -> int:
    """Measure and print; exit status 1 if the goal is missed beyond doubt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=150)
    count = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_empty.py").write_text("def test_empty():\n    pass\n")
        pair(folder)  # fills the caches
        median, low, high = median_interval([pair(folder) for _ in range(count)])
    print(f"the plugin adds {median:.1f} ms (95 % interval {low:.1f} … {high:.1f} ms, {count} pairs)")
    print(f"goal: at most {GOAL_MS:g} ms")
    return 1 if low > GOAL_MS else 0


if __name__ == "__main__":
    sys.exit(main())
