"""What watching memory costs beside a worker: shares of a core.

    uv run python -m benchmarks.sampling

Watches a process of 200 MiB through ``/proc``, and as if it were on one GPU, through the real pynvml on the
library that the tests answer with (``tests/nvml_stub.c``). The time is that of this process, which does
nothing but watch, wakeups included. A driver's own calls cost more or less than the stand-in's. The goal is
1 % of a core for both together.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.inference.intervals import median_interval
from pytest_llm.probes.device_memory import DeviceMemory
from pytest_llm.probes.devices import find_devices
from pytest_llm.probes.memory import VENDORS, Together
from pytest_llm.probes.process_memory import ProcessMemory
from pytest_llm.probes.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.protocols import Probe

GOAL = 0.01
SIZE = 200 * 2**20
STUB = Path(__file__).parent.parent / "tests" / "nvml_stub.c"
SONAME = "libnvidia-ml.so.1"
WATCHED = f"block = bytearray(b'x') * {SIZE}; print(flush=True); input()"
READINGS = 400


def provide_library(folder: Path, pid: int) -> None:
    """Have pynvml find a driver with one device, on which the process computes."""
    library, script = folder / SONAME, folder / "script"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", f"-Wl,-soname,{SONAME}", str(STUB), "-o", str(library)], check=True
    )
    script.write_text(f"devices 1\nprocess 0 {pid} {SIZE}\n", encoding="utf-8")
    os.environ["NVML_STUB"] = str(script)
    ctypes.CDLL(str(library))


def microseconds(read: Callable[[], object]) -> float:
    """Return what a reading takes without a pause before it."""
    started = time.process_time()
    for _ in range(READINGS):
        read()
    return (time.process_time() - started) / READINGS * 1e6


def share(probe: Probe, pid: int, seconds: float) -> float:
    """Return the share of a core that watching takes."""
    with probe.watch(pid):
        time.sleep(0.1)
        spent, started = time.process_time(), time.monotonic()
        time.sleep(seconds)
        return (time.process_time() - spent) / (time.monotonic() - started)


def tell_readings(pid: int) -> None:
    """Print what reading the kernel's two files costs."""
    for name in ("status", "statm"):
        path = Path(f"/proc/{pid}/{name}")
        with path.open("rb", buffering=0) as file:
            kept = min(microseconds(lambda: os.pread(file.fileno(), 1 << 14, 0)) for _ in range(5))
        opened = min(microseconds(path.read_bytes) for _ in range(5))
        print(f"/proc/PID/{name}: {kept:.1f} µs a reading, {opened:.1f} µs where it is opened each time")


def main() -> int:
    """Measure and print; exit status 1 if the goal is missed beyond doubt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    command = [sys.executable, "-c", WATCHED]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watched,
    ):
        assert watched.stdout is not None
        watched.stdout.readline()
        provide_library(Path(folder), watched.pid)
        tell_readings(watched.pid)
        ticker = Ticker()
        ram, devices = ProcessMemory(ticker=ticker), DeviceMemory(find_devices(VENDORS), ticker)
        both = Together(ram.watch, devices.watch)
        probes: dict[str, Probe] = {"RAM": ram, "one GPU": devices, "both": both}
        low = 0.0
        for name, probe in probes.items():
            found = [share(probe, watched.pid, arguments.seconds) for _ in range(arguments.times)]
            median, low, high = median_interval(found)
            print(f"{name}: {median:.2%} of a core (95 % interval {low:.2%} … {high:.2%})")
        watched.communicate(b"\n")
    print(f"goal: under {GOAL:.0%} for both")
    return 1 if low > GOAL else 0


if __name__ == "__main__":
    sys.exit(main())
