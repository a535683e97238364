"""``pytest-llm doctor --qualify``: test by measuring if verdicts on speed are right on this machine."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from pytest_llm import __version__
from pytest_llm.builds.provider import ANSWER_SECONDS, Provider
from pytest_llm.checks.format import counted, percent, ratio, resting_on
from pytest_llm.cli import command, project
from pytest_llm.cli.shams import shams_of
from pytest_llm.machine import fingerprint as machine
from pytest_llm.machine import qualification
from pytest_llm.machine.environment import measurement_context
from pytest_llm.machine.qualification.sham import PAIR_SESSIONS, PAIRS, measure_bias
from pytest_llm.measure import TimeLimits
from pytest_llm.models import ModelStore, builtin_entries, read_project
from pytest_llm.records import LoadOptions, Subject, Workload
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.serialization import encode
from pytest_llm.records.side import Side
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.stats.estimates import change_of
from pytest_llm.stats.label_bias import least_tolerance, refuses
from pytest_llm.system.folders import expanded
from pytest_llm.system.lock import PATIENCE, MeasuringLock, lock_path

if TYPE_CHECKING:
    from pytest_llm.records import BuildReference
    from pytest_llm.records.protocols import Engine

_WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
_N_CTX = 512
_CHECK_SESSIONS = qualification.SESSIONS * len(qualification.CHECKS)
_SHAM_SESSIONS = PAIRS * PAIR_SESSIONS
_SESSION_SECONDS = 8.5  # about, of a small model on two cores
_BEFORE = (
    f"this takes about {(_CHECK_SESSIONS + _SHAM_SESSIONS) * _SESSION_SECONDS / 60:.0f} minutes: "
    f"{_CHECK_SESSIONS} sessions of checks and {_SHAM_SESSIONS} of sham pairs; a check that cannot tell is "
    "repeated with twice the sessions"
)


def qualify(build: BuildReference, name: str, cache: Path, start: Path) -> command.Answer:
    """Run the checks and the sham pairs with progress on standard error, and store the results."""
    progress = ProgressDisplay.on(sys.stderr, _CHECK_SESSIONS + _SHAM_SESSIONS)
    lock = MeasuringLock(lock_path(os.environ))
    home = project.home(start)
    with (
        closing(Provider(cache, ANSWER_SECONDS, home=home)) as provider,
        tempfile.TemporaryDirectory() as folder,
    ):
        side = _side(build, name, cache, start, provider.engine(build, progress.preparing))
        described = provider.describe(build, progress.preparing)
        shams, left_out = shams_of(side, described, provider, Path(folder), progress.preparing)
        context = measurement_context(progress, TimeLimits(workload=math.inf))
        progress.write(_BEFORE)
        lock.acquire(PATIENCE, progress.waiting)
        try:
            results = qualification.qualify(
                side,
                _WORKLOAD,
                context,
                lambda check: progress.write(f"{check.name}: {check.title}"),
                lambda result: progress.write("\n".join(_result_lines(result))),
            )
            bias = None
            if all(each.passed for each in results):
                bias = measure_bias(side, _WORKLOAD, shams, context, progress.write, left_out)
        finally:
            lock.release()
    found = qualification.Qualification(
        fingerprint=machine.fingerprint(),
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        plugin=__version__,
        build=str(described),
        model=name,
        model_sha256=side.model.sha256,
        results=tuple(results),
        checks=tuple(each.name for each in qualification.CHECKS),
        bias=bias,
    )
    path = qualification.write(cache, found)
    lines = [line for each in results for line in _result_lines(each)]
    lines += [f"{each.name}: not run" for each in qualification.CHECKS[len(results) :]]
    lines += ["sham pairs: not run"] if bias is None else bias_lines(bias)
    lines.append(
        f"machine {found.fingerprint} is {'' if found.qualified else 'not '}qualified: stored in {path}"
    )
    document = {"qualified": found.when if found.qualified else None, "file": str(path), **encode(found)}
    return command.Answer(int(not found.qualified), lines, document)


def _side(build: BuildReference, name: str, cache: Path, start: Path, engine: Engine) -> Side:
    root = project.home(start)
    entries = {**builtin_entries(), **read_project(root / "pyproject.toml")}
    models = ModelStore(cache, entries, root, show=command.on_progress)
    if "/" in name or name.lower().endswith(".gguf"):
        name = str(start / expanded(name))
    cores = machine.usable_cores()
    options = LoadOptions(n_ctx=_N_CTX, n_threads=cores, n_threads_batch=cores)
    return Side(Subject(name, build, options), models.resolve(name), engine)


def bias_lines(bias: qualification.LabelBias) -> list[str]:
    """Return what sham pairs showed, and what follows for gates."""
    lines = [f"sham pairs: equal builds differ by {ratio(math.expm1(bias.tau))} (standard deviation)"]
    for pair in bias.pairs:
        changes = (
            f"{metric.title} {percent(change_of(metric, fmean(pair.log_ratios[metric.name])))}"
            for metric in (each.metric for each in qualification.GATES)
        )
        lines.append(f"  {pair.kind}: {', '.join(changes)}")
    lines += [f"  left out: {each}" for each in bias.left_out]
    if refuses(bias.tau, qualification.TOLERANCE):
        lines.append(
            f"  → gates need a tolerance of {ratio(least_tolerance(bias.tau))} or more on this machine"
        )
    return lines


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
