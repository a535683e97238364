"""The control: how fast this machine is now, by fixed work that no build of llama.cpp takes part in."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pytest_llm.records import Control
from pytest_llm.system.program import TimeLimitError, run_once

_KERNELS = Path(__file__).with_name("control_kernels.py")
_TIMEOUT = 60.0  # it takes half a second
# The threads are ours, so BLAS may have none of its own.
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def measure_control(threads: int, interpreter: str = sys.executable) -> Control | None:
    """Return the speed of this machine for some threads; None if it cannot be measured.

    The work is done in a process of its own, which may use the same processors as an engine's.
    """
    command = [interpreter, "-I", "-S", "-B", str(_KERNELS), json.dumps(sys.path), str(threads)]
    libraries = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    try:
        ended = run_once(command, {**libraries, **dict.fromkeys(_THREADS, "1")}, _TIMEOUT)
        return Control(**json.loads(ended.output), threads=threads) if ended.status == 0 else None
    except (OSError, TimeLimitError, ValueError, TypeError):
        return None
