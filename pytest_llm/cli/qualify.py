"""``pytest-llm doctor --qualify``: test by measuring if verdicts on speed are right on this machine."""

from __future__ import annotations

import math
import os
import sys
from contextlib import closing
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_llm import __version__
from pytest_llm.builds.provider import ANSWER_SECONDS, Provider
from pytest_llm.checks.format import counted, percent, ratio, resting_on
from pytest_llm.cli import command, project
from pytest_llm.machine import fingerprint as machine
from pytest_llm.machine import qualification
from pytest_llm.machine.environment import measurement_context
from pytest_llm.measure import TimeLimits
from pytest_llm.models import ModelStore, builtin_entries, read_project
from pytest_llm.records import LoadOptions, Subject, Workload
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.serialization import encode
from pytest_llm.records.side import Side
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.system.folders import expanded
from pytest_llm.system.lock import PATIENCE, MeasuringLock, lock_path

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.records import BuildReference

_WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
_N_CTX = 512


def qualify(build: BuildReference, name: str, cache: Path, start: Path) -> command.Answer:
    """Run the checks with progress on standard error, and store the results."""
    progress = ProgressDisplay.on(sys.stderr, qualification.SESSIONS * len(qualification.CHECKS))
    side = _side(build, name, cache, start, progress)
    lock = MeasuringLock(lock_path(os.environ))
    lock.acquire(PATIENCE, progress.waiting)
    try:
        with closing(side.start()) as started:
            described = str(started.build)
        results = qualification.qualify(
            side,
            _WORKLOAD,
            measurement_context(progress, TimeLimits(workload=math.inf)),
            lambda check: progress.write(f"{check.name}: {check.title}"),
            lambda result: progress.write("\n".join(_result_lines(result))),
        )
    finally:
        lock.release()
    found = qualification.Qualification(
        fingerprint=machine.fingerprint(),
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        plugin=__version__,
        build=described,
        model=name,
        model_sha256=side.model.sha256,
        results=tuple(results),
        checks=tuple(each.name for each in qualification.CHECKS),
    )
    path = qualification.write(cache, found)
    lines = [line for each in results for line in _result_lines(each)]
    lines += [f"{each.name}: not run" for each in qualification.CHECKS[len(results) :]]
    lines.append(
        f"machine {found.fingerprint} is {'' if found.qualified else 'not '}qualified: stored in {path}"
    )
    document = {"qualified": found.when if found.qualified else None, "file": str(path), **encode(found)}
    return command.Answer(int(not found.qualified), lines, document)


def _side(build: BuildReference, name: str, cache: Path, start: Path, progress: ProgressDisplay) -> Side:
    root = project.home(start)
    models = ModelStore(cache, {**builtin_entries(), **read_project(root / "pyproject.toml")}, root)
    if "/" in name or name.lower().endswith(".gguf"):
        name = str(start / expanded(name))
    cores = machine.usable_cores()
    options = LoadOptions(n_ctx=_N_CTX, n_threads=cores, n_threads_batch=cores)
    engine = Provider(cache, ANSWER_SECONDS).engine(build, progress.preparing)  # until this process ends
    return Side(Subject(name, build, options), models.resolve(name), engine)


def _result_lines(result: qualification.Result) -> list[str]:
    lines = [f"{result.check}: {'passed' if result.passed else 'failed'}"]
    lines += [f"  {_figures_line(each)}" for each in result.figures]
    return lines + [f"  → {each}" for each in result.reasons]


def _figures_line(figures: qualification.CheckFigures) -> str:
    change = "" if figures.change is None else f" {percent(figures.change)}"
    sessions = counted(len(figures.log_ratios), "session")
    basis = resting_on(figures.interval, qualification.CONFIDENCE, sessions)
    subject = f"{METRICS[figures.metric].title}{change} ({basis})"
    seen = "" if figures.mde is None else f", where a loss of {ratio(figures.mde)} would have been called"
    return f"{subject}: {figures.verdict.value}{seen}"
