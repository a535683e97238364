"""What an injected loss costs beside itself: blocks of tokens with and without it, in one process.

    uv run python -m benchmarks.injected_loss

The loss is a spin after each graph. A token's time is split into that of its graph, of the spin and of the
rest. If a loss of 5 % reads as more, the table says where the rest of it went.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.order_statistics import median_interval
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.system.folders import default_cache
from tests.system.faults.preload import Fault, compile_library

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOWDOWN = "GGML_FAULT_SLOWDOWN"
NEXT_TO_NONE = 1e-9  # of a graph: the library tells times only if it harms
DEPTH = 128
TOKENS = 16


class Seconds(NamedTuple):
    """Where the time of a token went."""

    token: float
    graph: float
    spin: float
    rest: float


def measure(library: str, path: str, threads: int, loss: float, pairs: int) -> list[tuple[Seconds, Seconds]]:
    """Return the mean of a token in blocks with the loss and without it, in turns.

    The process must have been started with the fault.
    """
    import llama_cpp

    told = ctypes.CDLL(library)
    computed, spun = (ctypes.c_double.in_dll(told, name) for name in ("fault_computed", "fault_spun"))
    llama = llama_cpp.Llama(path, n_ctx=512, n_threads=threads, n_threads_batch=threads, verbose=False)
    llama.eval([1] * DEPTH)

    def block(slowdown: float) -> Seconds:
        os.environ[SLOWDOWN] = str(slowdown)
        llama.n_tokens = DEPTH
        computed.value = spun.value = 0.0
        started = time.perf_counter()
        for _ in range(TOKENS):
            llama.eval([1])
        token = (time.perf_counter() - started) / TOKENS
        graph, spin = computed.value / TOKENS, spun.value / TOKENS
        return Seconds(token, graph, spin, token - graph - spin)

    block(NEXT_TO_NONE)
    found = []
    for number in range(pairs):
        order = (loss, NEXT_TO_NONE) if number % 2 else (NEXT_TO_NONE, loss)
        seconds = dict(zip(order, map(block, order), strict=True))
        found.append((seconds[loss], seconds[NEXT_TO_NONE]))
    return found


def table(threads: int, pairs: Iterable[tuple[Seconds, Seconds]]) -> list[str]:
    """Return the rows of one number of threads, in Markdown."""
    rows = []
    for part in Seconds._fields:
        slow, plain = zip(*((getattr(a, part), getattr(b, part)) for a, b in pairs), strict=True)
        usual = median_interval(plain)[0]
        middle, low, high = median_interval([a - b for a, b in zip(slow, plain, strict=True)])
        differ = f"{middle * 1e6:+.0f} ({low * 1e6:+.0f} … {high * 1e6:+.0f})"
        rows.append(f"| {threads} | {part} | {usual * 1e6:,.0f} | {differ} |")
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--loss", type=float, default=0.05)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        library, path, threads = given.measure
        print(json.dumps(measure(library, path, int(threads), given.loss, given.pairs)))
        return
    model = ModelStore(default_cache(os.environ), builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    print("| threads | time of | without, µs a token | with, more: median, 95 % interval, µs |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(Path(folder))
        environment = {**os.environ, **Fault(slowdown=given.loss).environment(library)}
        for threads in (1, 2):
            words = [str(library), str(model.path), str(threads)]
            options = ["--loss", str(given.loss), "--pairs", str(given.pairs)]
            command = [sys.executable, "-m", "benchmarks.injected_loss", "--measure", *words, *options]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            pairs = [(Seconds(*slow), Seconds(*plain)) for slow, plain in json.loads(done.stdout)]
            print("\n".join(table(threads, pairs)), flush=True)


if __name__ == "__main__":
    main()
