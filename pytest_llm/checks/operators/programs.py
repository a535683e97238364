"""Upstream's two programs, each run in a process of its own that may crash or hang."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.engines.environment import passed
from pytest_llm.errors import EngineError
from pytest_llm.models.opened import loadable
from pytest_llm.system.program import Ended, TimeLimitError, run_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import LoadOptions, Model, Workload

BENCHMARK = "test-backend-ops"
EXPORTER = "test-export-graph-ops"

# An exporter takes as long as the model takes to load.
_EXPORT_SECONDS = 120.0
_HELP_SECONDS = 30.0
_CACHE_STEP = 256  # llama.cpp pads the KV cache to a multiple
# What ``perf --output sql`` prints; its CSV leaves the times out.
_ROW = re.compile(r"^INSERT INTO \w+ \((?P<names>[\w, ]+)\) VALUES \((?P<values>.*)\);$")
_VALUE = re.compile(r"'((?:[^']|'')*)'(?:, |$)")


class CaseTime(NamedTuple):
    """One case that a benchmark measured."""

    operator: str  # ggml's name
    parameters: str  # in the benchmark's words
    supported: bool  # by the backend
    seconds: float  # of one run, averaged over at least a second of them; 0 if it is not supported


def takes_files(program: Path) -> bool:
    """Return if a benchmark measures the nodes of a file, besides its built-in cases."""
    return "--test-file" in _run([str(program), "--help"], _HELP_SECONDS, 1).output


def perf(
    program: Path, backend: str, arguments: Sequence[str], threads: int, seconds: float
) -> list[CaseTime]:
    """Return the times of the cases that ``arguments`` choose; it is killed after ``seconds``.

    Raises:
        EngineError: It crashed, or did not end.
    """
    words = [str(program), "perf", "-b", backend, "--output", "sql", *arguments]
    ended = _run(words, seconds, threads)
    if ended.status:
        raise EngineError(f"{BENCHMARK} {_ended(ended.status)}", ended.last_lines())
    return read_output(ended.output)


def export(program: Path, model: Model, options: LoadOptions, work: Workload, file: Path) -> str:
    """Return the nodes of the graph that generates a token, as the program writes them.

    A batch of one token a sequence keeps nodes of the prompt out. The cache is as long as the workload.

    Raises:
        EngineError: It crashed, refused the model, or did not end.
    """
    cells = -(-work.tokens_per_sequence() // _CACHE_STEP) * _CACHE_STEP
    batch = str(work.parallel)
    descriptors = [each.descriptor for each in model.opened]
    with loadable(model) as path:
        words = [
            *(str(program), "-m", path, "-o", str(file)),
            *("-c", str(cells * work.parallel), "-b", batch, "-ub", batch, "-np", batch),
            *("-fa", options.flash_attn, "-ctk", options.type_k, "-ctv", options.type_v),
        ]
        ended = _run(words, _EXPORT_SECONDS, options.n_threads, descriptors)
    if ended.status or not file.exists():
        raise EngineError(f"{EXPORTER} {_ended(ended.status)}", ended.last_lines())
    return file.read_text(encoding="utf-8", errors="replace")


def _run(words: Sequence[str], seconds: float, threads: int, descriptors: Sequence[int] = ()) -> Ended:
    try:
        # The benchmark itself takes half of the machine's threads, and has no option for them.
        environment = {name: os.environ[name] for name in passed(os.environ)}
        limited = {**environment, "OMP_THREAD_LIMIT": str(threads)}
        return run_once(words, limited, seconds, descriptors=descriptors)
    except TimeLimitError:
        raise EngineError(f"{Path(words[0]).name} did not end within {seconds:.0f} s") from None
    except OSError as error:
        raise EngineError(f"{words[0]} does not start: {error.strerror}") from None


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def read_output(text: str) -> list[CaseTime]:
    """Return the complete cases in order; other lines are ignored."""
    rows = (_ROW.match(line) for line in text.splitlines())
    timed = (_timed(row["names"].split(", "), _VALUE.findall(row["values"])) for row in rows if row)
    return [each for each in timed if each is not None]


def _timed(names: list[str], values: list[str]) -> CaseTime | None:
    row = dict(zip(names, values, strict=False))
    try:
        microseconds = float(row["time_us"])
        return CaseTime(row["op_name"], row["op_params"], row["supported"] == "1", microseconds / 1e6)
    except (KeyError, ValueError):
        return None
