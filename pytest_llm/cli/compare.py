"""``pytest-llm compare``: models, load options and builds side by side, in the same sessions."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from pytest_llm.builds.provider import Provider
from pytest_llm.checks.comparison import context as notes_of
from pytest_llm.checks.format import percent, span
from pytest_llm.checks.variants import MEMORY, SPEEDS, Row, rows_of, sentences, word
from pytest_llm.cli import command, project
from pytest_llm.cli.compare_table import table
from pytest_llm.cli.outputs import compare_outputs_of
from pytest_llm.engines import DEFAULT
from pytest_llm.errors import EngineError, LLMBenchError, UsageError
from pytest_llm.machine import fingerprint, qualification
from pytest_llm.machine.control import measure_control
from pytest_llm.machine.environment import measurement_context
from pytest_llm.measure import TimeLimits
from pytest_llm.measure.duration import Size, Speed, planned_time
from pytest_llm.measure.plan import SESSIONS
from pytest_llm.measure.variants import measure_variants
from pytest_llm.plugin.declared import fitted, read_load_options, read_workload
from pytest_llm.plugin.homes import Models
from pytest_llm.records import Campaign, Gate, LoadOptions, Question, Subject
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.side import Side
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.stats.sequential import rule_for
from pytest_llm.system.lock import PATIENCE, MeasuringLock, lock_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_llm.records import Workload

_TEXT = command.Text(
    summary="compare models, load options and builds side by side",
    more="Measures every combination in the same sessions, in turns, each against the first one, with the "
    "rule and the error rate of pytest --llm-against. The first of each list belongs to the first variant.",
    statuses="0; 1 if a variant could not be measured",
    example="pytest-llm compare model.gguf --load flash_attn=on,off --depth 0,4096",
)
_TIMEOUT = 600.0
_LEAST_CONTEXT = 512
_STEP = 256
_SORTED = {"given": "", **{name: name for name in (*SPEEDS, *MEMORY)}}


class Variant(NamedTuple):
    """A subject, and what tells it from the others."""

    label: str
    subject: Subject


def add_to(parser: argparse.ArgumentParser) -> None:
    command.describe(parser, _TEXT, _compare)
    add = parser.add_argument
    add("models", metavar="MODEL", nargs="+", help="name, path or source of a model")
    add("--load", metavar="OPTION=VALUE,…", action="append", default=[], help="load options; may be repeated")
    add(
        "--build",
        metavar="BUILD,…",
        default="",
        help="builds, as --llm-candidate (default: the installed one)",
    )
    add("--depth", metavar="N,…", default="0", help="tokens before the prompt (default: 0)")
    add("--prompt", metavar="N", type=int, default=128, help="tokens of the prompt (default: 128)")
    add("--generate", metavar="N", type=int, default=64, help="tokens to generate (default: 64)")
    add("--effort", choices=[*SESSIONS], default="normal", help="how many sessions (default: normal)")
    add("--sort", choices=[*_SORTED], default="given", help="the column that orders the table")
    add("--no-output", action="store_true", help="leave out how far outputs are from the first one's")
    command.add_cache_to(parser, "which holds models and builds")


def _compare(arguments: argparse.Namespace) -> command.Answer:
    here = Path.cwd()
    home, cache = project.home(here), project.cache(arguments.cache, here)
    models = Models(cache, home, show=command.on_progress)
    variants = variants_of(arguments, models, home, here)
    workloads = tuple(
        read_workload(
            {"prompt_tokens": arguments.prompt, "generate_tokens": arguments.generate, "depth": depth}
        )
        for depth in _numbers(arguments.depth, "--depth")
    )
    variants = [_roomy(each, workloads, arguments.load) for each in variants]
    lock = MeasuringLock(lock_path(os.environ))
    with closing(Provider(cache, _TIMEOUT, "on", home=home)) as provider:
        sides = _sides(variants, provider, models)
        lock.acquire(PATIENCE, command.on_progress)
        try:
            outputs, unseen = ({}, []) if arguments.no_output else _outputs(variants, sides)
            rows, notes = _measured(variants, sides, workloads, arguments.effort, cache)
        finally:
            lock.release()
    return _answer(rows, [*unseen, *notes], outputs, arguments.sort)


def variants_of(arguments: argparse.Namespace, models: Models, home: Path, here: Path) -> list[Variant]:
    """Return every combination of what the arguments list.

    Raises:
        LLMBenchError: An argument makes no sense, or there is no such model.
    """
    loads = [_values(each) for each in arguments.load]
    builds = [each for each in arguments.build.split(",") if each] or [DEFAULT]
    cores = fingerprint.usable_cores()
    defaults = LoadOptions(n_threads=cores, n_threads_batch=cores)
    found = []
    axes = [*([(name, value) for value in values] for name, values in loads)]
    for model, build, *options in itertools.product(arguments.models, builds, *axes):
        models.store(home).check(model)
        name = models.normalize(home, "", model)
        load = read_load_options(dict(options), defaults, "--load")
        parts = [name] if len(arguments.models) > 1 else []
        parts += [build] if len(builds) > 1 else []
        parts += [f"{option}={value}" for option, value in options if len(dict(loads)[option]) > 1]
        subject = Subject(name, project.build(build, here), load)
        found.append(Variant(" ".join(parts), subject))
    if len(found) < 2:
        raise UsageError("there is one variant: list several models, builds, or values of --load")
    if len({each.subject for each in found}) < len(found):
        raise UsageError("two variants are the same: leave one of them out")
    return found


def _values(text: str) -> tuple[str, list[Any]]:
    name, equals, written = text.partition("=")
    kinds = get_type_hints(LoadOptions)
    if not equals or not written:
        raise UsageError(f"--load {text!r} is not OPTION=VALUE,…: write flash_attn=on,off, say")
    kind = kinds.get(name, str)
    return name, [_value(each, kind, text) for each in written.split(",")]


def _value(text: str, kind: Any, whole: str) -> object:
    try:
        if kind is bool:
            return {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}[
                text.lower()
            ]
        return kind(text) if kind in (int, float) else text
    except (KeyError, ValueError):
        raise UsageError(f"--load {whole!r}: {text!r} is no value of that option") from None


def _numbers(text: str, option: str) -> list[int]:
    try:
        found = [int(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text!r} is no list of numbers: write 0,4096, say") from None
    if len({*found}) < len(found):
        raise UsageError(f"{option} {text!r} has a number twice")
    return found


def _roomy(variant: Variant, workloads: Sequence[Workload], loads: Sequence[str]) -> Variant:
    """Return a variant with room for every workload, unless its context was asked for."""
    options = variant.subject.load_options
    if not any(each.startswith("n_ctx=") for each in loads):
        needed = max(each.tokens_per_sequence() for each in workloads)
        options = replace(options, n_ctx=max(_LEAST_CONTEXT, -(-needed // _STEP) * _STEP))
    for workload in workloads:
        options = fitted(options, workload)
    return variant._replace(subject=replace(variant.subject, load_options=options))


def _sides(variants: Sequence[Variant], provider: Provider, models: Models) -> list[Side]:
    return [
        Side(
            each.subject,
            models.resolve_subject(each.subject),
            provider.engine(each.subject.build, command.on_progress),
        )
        for each in variants
    ]


def _outputs(variants: Sequence[Variant], sides: Sequence[Side]) -> tuple[dict[str, str], list[str]]:
    """Return what is told of each output, or why they could not be compared."""
    try:
        found = compare_outputs_of(sides, command.on_progress)
    except EngineError as error:
        return {}, [f"outputs are not compared: {error}"]
    return {each.label: told for each, told in zip(variants, found, strict=True)}, []


def _measured(
    variants: Sequence[Variant],
    sides: Sequence[Side],
    workloads: tuple[Workload, ...],
    effort: str,
    cache: Path,
) -> tuple[list[Row], list[str]]:
    """Return the rows of the table, and what disturbed the measurement."""
    gates = [Gate(METRICS[name], METRICS[name].tolerance) for name in SPEEDS.values()]
    tau = qualification.read(cache, fingerprint.fingerprint()).tau
    rule = rule_for(effort, (len(variants) - 1) * len(workloads) * len(gates), tau)
    first, *others = sides
    threads = max(each.subject.load_options.n_threads for each in variants)
    control = measure_control(threads)
    speeds = [Speed.of(_size(each), control) for each in sides]
    campaign = Campaign(
        others[0].subject,
        workloads,
        rule.looks[-1],
        first.subject,
        tuple(Question(workload, gate) for workload in workloads for gate in gates),
        planned=planned_time(speeds, workloads, {}),
    )
    context = measurement_context(ProgressDisplay(command.on_progress), TimeLimits(), time.monotonic, control)
    least = campaign.planned.until(rule.least_sessions)
    command.on_progress(
        f"{len(variants)} variants, {rule.looks[0]} to {rule.looks[-1]} sessions, about {least:.0f} s until "
        "a single loss can be called"
    )
    found, decided = measure_variants(campaign, (*others, first), rule, context)
    labels = [each.label for each in variants]
    rows: list[Row] = []
    notes: dict[str, None] = {}
    for workload, pairs in found.items():
        if isinstance(pairs, LLMBenchError):
            rows += [Row(label, workload, problem=str(pairs)) for label in labels]
            continue
        rows += rows_of(labels, workload, pairs, gates, decided)
        for each in rows[-len(others) :]:
            for speed in each.speeds:
                if speed.comparison is not None:
                    notes |= dict.fromkeys(notes_of(speed.comparison)[1:])
        notes |= dict.fromkeys(pair.cut_off for pair in pairs if pair.cut_off)
    return rows, list(notes)


def _size(side: Side) -> Size:
    model = side.model
    return Size(model.file_bytes, model.parameters, 4 * model.layers * model.embedding_length)


def _answer(rows: Sequence[Row], notes: Sequence[str], outputs: dict[str, str], by: str) -> command.Answer:
    changes = {
        (row.label, row.workload.depth, speed.name): _change(speed.comparison)
        for row in rows
        for speed in row.speeds
        if speed.comparison is not None
    }
    lines = [
        *table(_sorted(rows, _SORTED[by]), outputs, changes),
        *(f"note: {each}" for each in notes),
        "",
        *sentences(rows, {label: f"output {told}" for label, told in outputs.items() if told}),
    ]
    failed = any(row.problem for row in rows)
    document = {"rows": [_document(row, outputs) for row in rows], "notes": list(notes)}
    return command.Answer(int(failed), lines, document)


def _change(comparison: Any) -> str:
    if comparison.change is None:
        return comparison.reason or ""
    interval = f" ({span(comparison.interval)})" if comparison.interval else ""
    return f"{percent(comparison.change)}{interval}"


def _sorted(rows: Sequence[Row], by: str) -> list[Row]:
    def value(row: Row) -> float:
        if by in MEMORY:
            return row.memory.get(by, float("inf"))
        speed = next((each for each in row.speeds if each.name == by), None)
        return -speed.measurement.value if speed is not None and speed.measurement is not None else 0.0

    return sorted(rows, key=value) if by else list(rows)


def _document(row: Row, outputs: dict[str, str]) -> dict[str, Any]:
    return {
        "variant": row.label,
        "depth": row.workload.depth,
        "problem": row.problem,
        "speeds": {
            speed.name: {
                "value": None if speed.measurement is None else speed.measurement.value,
                "change": None if speed.comparison is None else speed.comparison.change,
                "interval": None if speed.comparison is None else speed.comparison.interval,
                "verdict": None if speed.comparison is None else speed.comparison.verdict.value,
                "word": None if speed.comparison is None else word(speed.comparison),
            }
            for speed in row.speeds
        },
        "memory": dict(row.memory),
        "output": outputs.get(row.label, ""),
    }
