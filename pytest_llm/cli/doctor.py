"""``pytest-llm doctor``: is this machine fit to measure, what can it see, and what is to be changed?"""

from __future__ import annotations

import math
import os
import random
import sys
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm import __version__, qualification
from pytest_llm.campaign import Side, Surroundings
from pytest_llm.cli import command, project
from pytest_llm.cli.baselines.shared import described
from pytest_llm.cli.progress import Progress
from pytest_llm.codec import encode
from pytest_llm.engines import DEFAULT, engine_for, parse_build
from pytest_llm.errors import EngineError, LLMBenchError, MachineBusyError
from pytest_llm.measuring_lock import MeasuringLock, lock_path
from pytest_llm.metrics import METRICS
from pytest_llm.models import ModelStore, builtin_entries, read_project
from pytest_llm.probes import machine
from pytest_llm.probes.advice import Advice, advice
from pytest_llm.probes.conditions import read_conditions
from pytest_llm.probes.noise import find_noise
from pytest_llm.probes.process_memory import ProcessMemory
from pytest_llm.records import LoadOptions, Model, Subject, Workload
from pytest_llm.verdicts.words import percent, ratio, span

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from pytest_llm.probes.conditions import Conditions
    from pytest_llm.records import JSON, Build, BuildReference

_TEXT = command.Text(
    summary="say whether this machine is fit to measure, what it can see, and what to change",
    more="Looks at the machine for a second. With --qualify, shows by measuring whether its verdicts on "
    "speed may be believed, which takes some minutes, and keeps the answer.",
    statuses="0; 1 if something is to be changed, or with --qualify if the machine is not qualified",
    example="pytest-llm doctor --qualify",
)
_ANSWER_SECONDS = 600.0
_LOCK_SECONDS = 900.0
_WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
_N_CTX = 512
# Starting a worker takes a model; as long as nothing is loaded, none is looked at.
_NO_MODEL = Model("", "", "", 0, "", "", 0, 0, 0, 0, 0, 0, 0)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    command.describe(parser, _TEXT, run)
    parser.add_argument("--qualify", action="store_true", help="measure whether its verdicts may be believed")
    parser.add_argument(
        "--candidate",
        metavar="BUILD",
        default=DEFAULT,
        help="the build: llama-cpp-python (of this environment), or llama-cpp-python@venv:PATH",
    )
    parser.add_argument(
        "--model",
        metavar="NAME_OR_FILE",
        default="smollm2-135m",
        help="what --qualify measures with (default: %(default)s)",
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="where models and the answer are kept (default: as for pytest: the ini key llm_cache, else "
        "PYTEST_LLM_CACHE, else the user's cache)",
    )


def run(arguments: argparse.Namespace) -> command.Answer:
    """Look at the machine, or qualify it."""
    start = Path.cwd()
    build = parse_build(arguments.candidate, start)
    cache = project.cache(arguments.cache, start)
    if not arguments.qualify:
        return tell(look(build, cache))
    return _qualify(build, arguments.model, cache, start)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────


class Seen(NamedTuple):
    """What was seen of the machine.

    Attributes:
        fingerprint: Of the machine.
        parts: What that is made of.
        conditions: How it stands.
        covered: The sources of noise that it tells of.
        not_covered: The others, with the reason.
        build: The candidate, as it describes itself; None where it does not start.
        holder: Who measures now; "" if nobody does.
        standing: Whether it is qualified.
        advice: What is to be changed.
    """

    fingerprint: str
    parts: Mapping[str, JSON]
    conditions: Conditions
    covered: tuple[str, ...]
    not_covered: Mapping[str, str]
    build: Build | None
    holder: str
    standing: qualification.Standing
    advice: Sequence[Advice]


def look(reference: BuildReference, cache: Path) -> Seen:
    """Look at this machine; takes about a second."""
    noise, conditions = find_noise(tuple), read_conditions()
    standing = qualification.read(cache, machine.fingerprint())
    build, no_build = _describe(reference)
    holder = _holder()
    return Seen(
        fingerprint=machine.fingerprint(),
        parts=dict(machine.parts()),
        conditions=conditions,
        covered=noise.covered,
        not_covered=noise.not_covered,
        build=build,
        holder=holder,
        standing=standing,
        advice=[*no_build, *advice(conditions), *_advice_on_lock(holder), *_advice_on(standing)],
    )


def tell(seen: Seen) -> command.Answer:
    """Say what was seen, and what to change."""
    return command.Answer(int(bool(seen.advice)), _lines(seen), _document(seen))


def _describe(reference: BuildReference) -> tuple[Build | None, list[Advice]]:
    subject = Subject("", reference, LoadOptions())
    try:
        with closing(engine_for(reference, _ANSWER_SECONDS).start(subject, _NO_MODEL)) as started:
            return started.build, []
    except EngineError as error:
        return None, [
            Advice(str(error), "nothing can be measured with it", "repair it, or name another build")
        ]


def _holder() -> str:
    """Return who measures now, in a line; "" if nobody does."""
    lock = MeasuringLock(lock_path(os.environ))
    try:
        lock.acquire(0, lambda _: None)
    except MachineBusyError:
        return str(lock.holder() or "it does not say which")
    except LLMBenchError as error:
        return str(error)
    lock.release()
    return ""


def _advice_on_lock(holder: str) -> list[Advice]:
    if not holder:
        return []
    return [Advice(f"another run measures: {holder}", "two at once would slow each other", "wait for it")]


def _advice_on(standing: qualification.Standing) -> list[Advice]:
    if standing.since is not None:
        return []
    return [
        Advice(
            f"the machine is not qualified: {standing.reason}",
            "nothing shows that its verdicts on speed may be believed",
            "pytest-llm doctor --qualify",
        )
    ]


def _lines(seen: Seen) -> list[str]:
    lines = [f"machine {seen.fingerprint}: {described(seen.parts)}"]
    if seen.build is not None:
        lines += [f"candidate {seen.build}", f"  {seen.build.compiled_with}"]
    lines += [f"{name}: {value}" for name, value in _told(seen.conditions).items()]
    lines.append(f"noise that drops a round: {', '.join(seen.covered) or 'none'}")
    lines += [f"noise not covered: {name}: {why}" for name, why in seen.not_covered.items()]
    lines += _standing_lines(seen.standing)
    lines += [f"{each.what}: {each.why}\n  → {each.change}" for each in seen.advice]
    return lines if seen.advice else [*lines, "nothing is to be changed"]


def _told(conditions: Conditions) -> dict[str, str]:
    found = {
        "CPU governor": _listed(conditions.governors),
        "turbo": _said(conditions.turbo, "on", "off"),
        "on battery": _said(conditions.on_battery, "yes", "no"),
        "others' load": _written(conditions.other_load, "{:.1%}"),
        "stolen since boot": _written(conditions.stolen_since_boot, "{:.1%}"),
        "load average": _written(conditions.load_average, "{:.2f}"),
        "huge pages": conditions.huge_pages,
        "processors": _listed(conditions.affinity),
        "NUMA nodes": _listed(conditions.numa_nodes),
    }
    # Most machines have none of these.
    some = {
        "CPU quota": _written(conditions.quota, "{:g} processors"),
        "GPUs": "; ".join(", ".join((str(gpu.index), *gpu.limits)) for gpu in conditions.gpus),
    }
    return {
        **{name: "not told" if text is None else text for name, text in found.items()},
        **{name: text for name, text in some.items() if text},
    }


def _listed(things: Sequence[object] | None) -> str | None:
    return None if things is None else ", ".join(map(str, things))


def _said(state: bool | None, when_true: str, when_false: str) -> str | None:
    return None if state is None else (when_true if state else when_false)


def _written(number: float | None, form: str) -> str | None:
    return None if number is None else form.format(number)


def _standing_lines(standing: qualification.Standing) -> list[str]:
    found = standing.found
    if standing.since is None or found is None:
        return []
    return [
        f"qualified since {standing.since}, by pytest-llm-bench {found.plugin} with {found.build}",
        *(
            f"  {METRICS[each.metric].title}: a loss of {ratio(each.mde)} would have been called"
            for each in found.results[0].figures
            if each.mde is not None
        ),
    ]


def _document(seen: Seen) -> dict[str, Any]:
    found = seen.standing.found
    return {
        "machine": {"fingerprint": seen.fingerprint, **seen.parts},
        "candidate": encode(seen.build) if seen.build is not None else None,
        "conditions": encode(seen.conditions),
        "noise": {"covered": list(seen.covered), "not_covered": dict(seen.not_covered)},
        "measuring": seen.holder or None,
        "qualified": seen.standing.since,
        "qualification": encode(found) if found is not None else None,
        "advice": [each._asdict() for each in seen.advice],
    }


# ── qualifying ───────────────────────────────────────────────────────────────────────────────────


def _qualify(build: BuildReference, name: str, cache: Path, start: Path) -> command.Answer:
    side = _side(build, name, cache, start)
    progress = Progress(sys.stderr, qualification.SESSIONS * len(qualification.CHECKS))
    lock = MeasuringLock(lock_path(os.environ))
    lock.acquire(_LOCK_SECONDS, progress.waiting)
    try:
        told = _describe(build)[0]
        results = qualification.qualify(
            side,
            _WORKLOAD,
            _surroundings(progress),
            lambda check: progress.begin(f"{check.name}: {check.title}"),
            lambda result: progress.begin("\n".join(_result_lines(result))),
        )
    finally:
        lock.release()
    found = qualification.Qualification(
        fingerprint=machine.fingerprint(),
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        plugin=__version__,
        build=str(told),
        model=name,
        model_sha256=side.model.sha256,
        results=tuple(results),
        checks=tuple(each.name for each in qualification.CHECKS),
    )
    path = qualification.write(cache, found)
    lines = [line for each in results for line in _result_lines(each)]
    lines.append(
        f"machine {found.fingerprint} is {'' if found.qualified else 'not '}qualified: kept in {path}"
    )
    document = {"qualified": found.when if found.qualified else None, "file": str(path), **encode(found)}
    return command.Answer(int(not found.qualified), lines, document)


def _side(build: BuildReference, name: str, cache: Path, start: Path) -> Side:
    root = project.home(start)
    models = ModelStore(cache, {**builtin_entries(), **read_project(root / "pyproject.toml")}, root)
    if "/" in name or name.lower().endswith(".gguf"):
        name = str(start / Path(name).expanduser())
    cores = machine.usable_cores()
    options = LoadOptions(n_ctx=_N_CTX, n_threads=cores, n_threads_batch=cores)
    return Side(Subject(name, build, options), models.resolve(name), engine_for(build, _ANSWER_SECONDS))


def _surroundings(progress: Progress) -> Surroundings:
    return Surroundings(
        probe=ProcessMemory(),
        noise=find_noise(tuple),
        clock=time.monotonic,
        watcher=progress,
        coin=lambda: random.random() < 0.5,
        room=machine.available_bytes,
        patience=math.inf,
    )


def _result_lines(result: qualification.Result) -> list[str]:
    lines = [f"{result.check}: {'passed' if result.passed else 'not passed'}"]
    lines += [f"  {_figures_line(each)}" for each in result.figures]
    return lines + [f"  → {each}" for each in result.reasons]


def _figures_line(figures: qualification.Figures) -> str:
    change = "" if figures.change is None else f" {percent(figures.change)}"
    interval = "" if figures.interval is None else f"interval {span(figures.interval)}, "
    told = f"{METRICS[figures.metric].title}{change} ({interval}{len(figures.log_ratios)} sessions)"
    seen = "" if figures.mde is None else f", where a loss of {ratio(figures.mde)} would have been called"
    return f"{told}: {figures.verdict.value}{seen}"
