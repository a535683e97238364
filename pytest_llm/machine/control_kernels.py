"""Fixed work of numpy, timed: ``<interpreter> control_kernels.py PATH THREADS`` prints its rates as JSON.

PATH is ``sys.path`` as JSON. Every thread does the same work in each of many short repetitions; a rate is
their median.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# More than the caches of most machines; all threads together.
_COPIED = 64 * 2**20
_LEAST_COPIED = 4 * 2**20  # of each thread
_COPIES = 25
# Three such matrices lie in a core's second cache.
_SIDE = 192
_PRODUCTS = 12  # in one repetition
_REPETITIONS = 30
# On a busy machine, fewer repetitions must do.
_LEAST_REPETITIONS = 5
_SECONDS = 1.0
# Many threads take long to begin together: for each so many of them, a repetition does its work once more.
_THREADS_A_TURN = 16


def rate(threads: int, work: Callable[[int], None], repetitions: int, amount: float) -> float:
    """Return the amount of work per second that all threads do together."""
    barrier = threading.Barrier(threads)
    seconds: list[float] = []
    begun = time.perf_counter()
    late = threading.Event()

    def repeat(index: int) -> None:
        work(index)  # what is first touched is slow
        for number in range(repetitions):
            barrier.wait()
            started = time.perf_counter()
            work(index)
            if index == 0 and number >= _LEAST_REPETITIONS and time.perf_counter() - begun > _SECONDS:
                late.set()  # before the others go on
            barrier.wait()
            if index == 0:
                seconds.append(time.perf_counter() - started)
            if late.is_set():
                break

    others = [threading.Thread(target=repeat, args=(index,), daemon=True) for index in range(1, threads)]
    for each in others:
        each.start()
    repeat(0)
    for each in others:
        each.join()
    return amount / statistics.median(seconds)


def measure(threads: int) -> dict[str, Any]:
    """Return bytes that are copied and floating-point operations that are done in a second."""
    import numpy as np

    turns = range(1 + threads // _THREADS_A_TURN)
    size = max(_LEAST_COPIED, _COPIED // threads)
    sources = [np.ones(size // 4, np.float32) for _ in range(threads)]
    targets = [np.zeros(size // 4, np.float32) for _ in range(threads)]

    def copy(index: int) -> None:
        for _ in turns:
            np.copyto(targets[index], sources[index])

    copied = rate(threads, copy, _COPIES, 2.0 * size * threads * len(turns))  # read and written
    sources.clear()
    targets.clear()
    factors = [np.full((_SIDE, _SIDE), 1 / _SIDE, np.float32) for _ in range(threads)]
    products = [np.empty((_SIDE, _SIDE), np.float32) for _ in range(threads)]

    def multiply(index: int) -> None:
        for _ in range(_PRODUCTS * len(turns)):
            np.matmul(factors[index], factors[index], out=products[index])

    computed = rate(threads, multiply, _REPETITIONS, 2.0 * _SIDE**3 * _PRODUCTS * threads * len(turns))
    version = ".".join(np.__version__.split(".")[:2])
    return {"bandwidth": copied, "arithmetic": computed, "method": f"numpy {version}"}


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[1])
    json.dump(measure(int(sys.argv[2])), sys.stdout)
