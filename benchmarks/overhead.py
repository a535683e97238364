"""Time that the plugin itself takes for each test, without measuring.

    uv run python benchmarks/overhead.py

Runs 50 benchmarks on 2 subjects with the real engine, and 50 empty tests without the plugin. The plugin's own
time is the first, less its campaigns, less the second: options, markers, plan, verdicts, summary, results
file. The goal is 10 ms a test.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.order_statistics import median_interval

TESTS = 50
GOAL_MS = 10.0

BENCHMARKS = f"""
import pytest

@pytest.mark.parametrize("number", range({TESTS // 2}))
@pytest.mark.llm_model("smollm2-135m", n_ctx=[512, 1024])
@pytest.mark.llm_workload(prompt_tokens=32, generate_tokens=8)
@pytest.mark.llm_tokens_per_second(min=0.1)
@pytest.mark.llm_first_token_latency(max="1 h", percentile=95)
def test_speed(llm_bench, number):
    assert llm_bench.generation_tokens_per_second.value
"""
EMPTY = f"""
import pytest

@pytest.mark.parametrize("number", range({TESTS}))
def test_nothing(number):
    pass
"""
# Notes how long the campaigns took, from the outside.
CONFTEST = """
import json, time
from pathlib import Path
from pytest_llm.plugin import runner as measuring

spent = []
measure = measuring.measure

def timed(*arguments):
    started = time.perf_counter()
    try:
        return measure(*arguments)
    finally:
        spent.append(time.perf_counter() - started)

measuring.measure = timed

def pytest_unconfigure(config):
    Path("campaigns.json").write_text(json.dumps(spent))
"""


def run(folder: Path, *arguments: str) -> float:
    """Return the seconds that one run of pytest takes."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    # Bytecode is kept, as it is on any user's second run.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def own_cost_ms(benchmarks: Path, empty: Path) -> float:
    """Return the plugin's own milliseconds a test, from one pair of runs."""
    whole = run(benchmarks, "--llm-bench", "--llm-effort=quick", "--llm-json=results.json")
    campaigns: list[float] = json.loads((benchmarks / "campaigns.json").read_text())
    assert len(campaigns) == 2, "each subject has one campaign"
    results = json.loads((benchmarks / "results.json").read_text())
    assert len(results["tests"]) == TESTS
    assert all(len(each["sessions"]) == 3 for each in results["runs"].values())
    return (whole - sum(campaigns) - run(empty, "-p", "no:llm_bench")) / TESTS * 1000


def main() -> int:
    """Measure and print; exit status 1 if the goal is missed beyond doubt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6)
    count = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as name:
        benchmarks, empty = Path(name, "benchmarks"), Path(name, "empty")
        for folder in (benchmarks, empty):
            folder.mkdir()
        (benchmarks / "test_speed.py").write_text(BENCHMARKS)
        (benchmarks / "conftest.py").write_text(CONFTEST)
        (empty / "test_nothing.py").write_text(EMPTY)
        own_cost_ms(benchmarks, empty)  # compiles what is imported
        costs = [own_cost_ms(benchmarks, empty) for _ in range(count)]
    median, low, high = median_interval(costs)
    print(
        f"the plugin's own cost is {median:.2f} ms a test (95 % interval {low:.2f} … {high:.2f} ms, "
        f"{count} runs of {TESTS} tests on 2 subjects)"
    )
    print(f"goal: under {GOAL_MS:g} ms")
    return 1 if low > GOAL_MS else 0


if __name__ == "__main__":
    sys.exit(main())
