"""Cost of sampling memory: shares of a core, and of a worker's speed.

    uv run python -m benchmarks.sampling

Watches a worker that generates on as many threads as there are cores, through ``/proc`` and, as if it were on
one GPU, through pynvml on the stand-in library of the tests (``tests/nvml_stub.c``). Counts the CPU time of
this process, which does nothing else. A real driver's calls take more or less time. The goal: 1 % of a core.

Then times pairs of slices, one of each pair while the worker is watched.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.order_statistics import median_interval
from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import engine_for
from pytest_llm.machine.gpu.device import find_devices
from pytest_llm.machine.gpu.sampler import DeviceMemory
from pytest_llm.machine.memory.rss import ProcessMemory
from pytest_llm.machine.memory.sampler import Ticker
from pytest_llm.machine.probes import VENDORS, Together
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import LoadOptions, Subject, Workload
from pytest_llm.system.folders import default_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.records.protocols import Loaded, Probe

GOAL = 0.01
STUB = Path(__file__).parent.parent / "tests" / "nvml_stub.c"
SONAME = "libnvidia-ml.so.1"
HELD = 200 * 2**20  # bytes on the GPU, as the stand-in says
READINGS = 400
STEPS, LONG = 32, 128
WORKLOAD = Workload(prompt_tokens=32, generate_tokens=LONG)


def start_worker() -> Loaded:
    """Return a process that is about to load a model, with a thread for each core."""
    cores = len(os.sched_getaffinity(0))
    model = ModelStore(default_cache(os.environ), builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    build = parse_build("llama-cpp-python", Path.cwd())
    options = LoadOptions(n_ctx=2048, n_threads=cores, n_threads_batch=cores)
    return engine_for(build, 600.0).start(Subject(model.name, build, options), model)


def provide_library(folder: Path, pid: int) -> None:
    """Have pynvml find a driver with one device, on which the process computes."""
    library, script = folder / SONAME, folder / "script"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", f"-Wl,-soname,{SONAME}", str(STUB), "-o", str(library)], check=True
    )
    script.write_text(f"devices 1\nprocess 0 {pid} {HELD}\n", encoding="utf-8")
    os.environ["NVML_STUB"] = str(script)
    ctypes.CDLL(str(library))


def tell_readings(pid: int) -> None:
    """Print what reading the kernel's two files costs."""
    for name in ("status", "statm"):
        path = Path(f"/proc/{pid}/{name}")
        with path.open("rb", buffering=0) as file:
            kept = min(microseconds(lambda: os.pread(file.fileno(), 1 << 14, 0)) for _ in range(5))
        opened = min(microseconds(path.read_bytes) for _ in range(5))
        print(f"/proc/PID/{name}: {kept:.1f} µs a reading, {opened:.1f} µs where it is opened each time")


def microseconds(read: Callable[[], object]) -> float:
    """Return what a reading takes without a pause before it."""
    started = time.process_time()
    for _ in range(READINGS):
        read()
    return (time.process_time() - started) / READINGS * 1e6


def share(loaded: Loaded, probe: Probe) -> float:
    """Return the share of a core that watching takes while the worker generates."""
    with probe.watch(loaded.pid):
        spent, started = time.process_time(), time.monotonic()
        loaded.generate_steps(LONG)
        return (time.process_time() - spent) / (time.monotonic() - started)


def changes(loaded: Loaded, probe: Probe, pairs: int) -> list[float]:
    """Return, for each pair of slices in a random order, by how much the watched one was faster (ln)."""
    short = replace(WORKLOAD, generate_tokens=STEPS)

    def watched() -> float:
        with probe.watch(loaded.pid):
            loaded.rehearse(short)
        return loaded.generation_slice(STEPS)[1]

    def alone() -> float:
        loaded.rehearse(short)
        return loaded.generation_slice(STEPS)[1]

    found = []
    for _ in range(pairs):
        seconds = {each: each() for each in random.sample((watched, alone), 2)}
        found.append(math.log(seconds[alone] / seconds[watched]))
    return found


def main() -> int:
    """Measure and print; exit status 1 if a goal is missed beyond doubt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, closing(start_worker()) as loaded:
        provide_library(Path(folder), loaded.pid)
        loaded.load()
        loaded.rehearse(WORKLOAD)
        tell_readings(loaded.pid)
        ticker = Ticker()
        ram, devices = ProcessMemory(ticker=ticker), DeviceMemory(find_devices(VENDORS), ticker)
        both = Together(ram.watch, devices.watch)
        probes: dict[str, Probe] = {"RAM": ram, "one GPU": devices, "both": both}
        low = 0.0
        for name, probe in probes.items():
            found = [share(loaded, probe) for _ in range(arguments.times)]
            median, low, high = median_interval(found)
            print(f"{name}: {median:.2%} of a core (95 % interval {low:.2%} … {high:.2%})")
        change, slowest, fastest = (
            math.expm1(each) for each in median_interval(changes(loaded, both, arguments.pairs))
        )
    print(
        f"generation after it: {change:+.2%} (95 % interval {slowest:+.2%} … {fastest:+.2%}, "
        f"{arguments.pairs} pairs)"
    )
    print(f"goal: under {GOAL:.0%} of a core for both, and a speed that does not move")
    return 1 if low > GOAL or not slowest <= 0 <= fastest else 0


if __name__ == "__main__":
    sys.exit(main())
