"""Runs pytest in a process of its own: to plan a test, compare two builds, or try one."""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.errors import UsageError
from pytest_llm.records import Gate, LoadOptions, Workload  # noqa: TC001 - the codec reads annotations
from pytest_llm.records.serialization import decode
from pytest_llm.reports import recheck, results_file
from pytest_llm.system import strict_json
from pytest_llm.system.program import run_to_our_end
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    import subprocess

_INTERRUPTED = 2
# These override the ini file.
_ALWAYS = (
    "--llm-bench",
    "-q",
    "--color=no",
    *("-p", "pytest_llm.plugin.bisect_plugin"),
    *("-o", "llm_aa=false"),
    *("-o", "llm_update_baselines="),
)


@dataclass(frozen=True)
class Planned:
    """A benchmark that compares two builds."""

    nodeid: str
    model: str
    model_sha256: str
    load_options: LoadOptions
    workload: Workload
    gates: tuple[Gate, ...]
    sessions: int  # of a comparison, at most
    seconds: float  # of a comparison, about, if a token costs no more than 10 ms


@dataclass(frozen=True)
class Selected:
    """The benchmarks that pytest selected, and why others cannot be measured."""

    benchmarks: tuple[Planned, ...] = ()
    problems: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """Results, or None and the reason."""

    results: dict[str, Any] | None
    reason: str = ""


@dataclass(frozen=True)
class Runner:
    """Runs pytest on one test."""

    nodeid: str  # as the user wrote it
    folder: Path
    options: tuple[str, ...] = ()

    def plan(self, reference: str, candidate: str, comparisons: int) -> Planned:
        """Return what the test asks for; ``UsageError`` if it is not one benchmark that can be measured."""
        sides = (f"--llm-candidate={candidate}", f"--llm-against={reference}")
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / "planned.json"
            done = self._run(
                *sides, f"--llm-comparisons={comparisons}", "--collect-only", f"--llm-write-planned={file}"
            )
            if not file.exists():
                raise UsageError(f"pytest cannot collect {self.nodeid}: {_last_words(done)}")
            selected = decode(Selected, strict_json.read(file, limit=results_file.MAX_BYTES))
        if selected.problems:
            raise UsageError(selected.problems[0])
        if len(selected.benchmarks) != 1:
            names = ", ".join(each.nodeid for each in selected.benchmarks[:3]) or _last_words(done)
            raise UsageError(
                f"{self.nodeid} is {len(selected.benchmarks)} benchmarks, a bisect follows one: {names}"
            )
        return selected.benchmarks[0]

    def compare(self, reference: str, candidate: str, comparisons: int) -> Outcome:
        """Measure a candidate beside a reference; ``UsageError`` if pytest did not reach the test."""
        return self._measure(
            f"--llm-candidate={candidate}", f"--llm-against={reference}", f"--llm-comparisons={comparisons}"
        )

    def solo(self, candidate: str) -> Outcome:
        """Measure a candidate solo, in the fewest sessions."""
        return self._measure(f"--llm-candidate={candidate}", "-o", "llm_against=", "--llm-effort=quick")

    def _measure(self, *options: str) -> Outcome:
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / "results.json"
            done = self._run(*options, f"--llm-json={file}")
            if done.returncode == _INTERRUPTED and "KeyboardInterrupt" in done.stdout:
                raise KeyboardInterrupt  # of this process, too
            if not file.exists():
                raise UsageError(f"pytest cannot run {self.nodeid}: {_last_words(done)}")
            results = results_file.read_plain(file)
            recheck.sound(file, *recheck.read(file))
        if not results["finished"]:
            raise UsageError(f"pytest was killed while it ran {self.nodeid}: {_last_words(done)}")
        (test,) = results["tests"]
        if test["run"] is None:
            return Outcome(None, "; ".join(test["notes"]) or test["outcome"])
        return Outcome(results)

    def _run(self, *options: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "pytest", self.nodeid, *_ALWAYS, *self.options, *options]
        return run_to_our_end(words, self.folder)


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    output = done.stderr + done.stdout
    lines = [line.strip() for line in output.splitlines() if line.strip(" =")]
    errors = [line for line in lines if re.search(r"error: |Error: |^E  ", line, re.IGNORECASE)]
    return clean((errors or lines or [f"it ended with {done.returncode}"])[-1])
