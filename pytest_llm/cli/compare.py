"""``pytest-llm compare``: models, load options and builds side by side, in the same sessions."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pytest_llm.builds.provider import Provider
from pytest_llm.checks.family import Decisions
from pytest_llm.checks.findings import Finding, VariantFinding
from pytest_llm.checks.variants import MeasuredVariants, judge_variant, labels_of
from pytest_llm.cli import command, project
from pytest_llm.engines import DEFAULT
from pytest_llm.errors import UsageError
from pytest_llm.machine import fingerprint, qualification
from pytest_llm.machine.control import measure_control
from pytest_llm.machine.environment import measurement_context
from pytest_llm.measure import TimeLimits
from pytest_llm.measure.duration import Size, Speed
from pytest_llm.measure.plan import SESSIONS, make_plan
from pytest_llm.measure.variant_outputs import compare_outputs_of
from pytest_llm.measure.variants import measure_variants
from pytest_llm.plugin.declared import fitted, read_load_options, read_workload
from pytest_llm.plugin.homes import Models
from pytest_llm.records import Benchmark, Gate, LoadOptions, Subject, TestKey, VariantsAsked
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.side import Side
from pytest_llm.reports import results_file
from pytest_llm.reports.document import Machine
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.reports.results import results_of
from pytest_llm.reports.variants import groups, sentences, table, word
from pytest_llm.stats.sequential import rule_for
from pytest_llm.system.lock import PATIENCE, MeasuringLock, lock_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_llm.errors import EngineError
    from pytest_llm.records import Campaign, PairedRun, VariantOutput, Workload
    from pytest_llm.reports.document import Results, TestEntry
    from pytest_llm.reports.verdict_entries import MetricEntry

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
_SPEEDS = {"prompt": "prompt_tokens_per_second", "generation": "generation_tokens_per_second"}
_MEMORY = {"RAM": "peak_ram", "VRAM": "peak_vram"}
_SORTED = {"given": "", **_SPEEDS, **_MEMORY}


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
    add("--results", metavar="FILE", type=Path, help="write a results file, with every sample, for reports")
    command.add_cache_to(parser, "which holds models and builds")


def _compare(arguments: argparse.Namespace) -> command.Answer:
    here = Path.cwd()
    home, cache = project.home(here), project.cache(arguments.cache, here)
    models = Models(cache, home, show=command.on_progress)
    subjects = subjects_of(arguments, models, home, here)
    workloads = tuple(
        read_workload(
            {"prompt_tokens": arguments.prompt, "generate_tokens": arguments.generate, "depth": depth}
        )
        for depth in _numbers(arguments.depth, "--depth")
    )
    subjects = [_roomy(each, workloads, arguments.load) for each in subjects]
    lock = MeasuringLock(lock_path(os.environ))
    with closing(Provider(cache, _TIMEOUT, "on", home=home)) as provider:
        sides = [_side(each, provider, models) for each in subjects]
        lock.acquire(PATIENCE, command.on_progress)
        try:
            results = _measured(sides, workloads, arguments.effort, cache, output=not arguments.no_output)
        finally:
            lock.release()
    if arguments.results is not None:
        results_file.write(arguments.results, results)
    return _answer(results, arguments.sort)


def subjects_of(arguments: argparse.Namespace, models: Models, home: Path, here: Path) -> list[Subject]:
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
        load = read_load_options(dict(options), defaults, "--load")
        found.append(Subject(models.normalize(home, "", model), project.build(build, here), load))
    if len(found) < 2:
        raise UsageError("there is one variant: list several models, builds, or values of --load")
    if len({*found}) < len(found):
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


def _roomy(subject: Subject, workloads: Sequence[Workload], loads: Sequence[str]) -> Subject:
    """Return a subject with room for every workload, unless its context was asked for."""
    options = subject.load_options
    if not any(each.startswith("n_ctx=") for each in loads):
        needed = max(each.tokens_per_sequence() for each in workloads)
        options = replace(options, n_ctx=max(_LEAST_CONTEXT, -(-needed // _STEP) * _STEP))
    for workload in workloads:
        options = fitted(options, workload)
    return replace(subject, load_options=options)


def _side(subject: Subject, provider: Provider, models: Models) -> Side:
    engine = provider.engine(subject.build, command.on_progress)
    return Side(subject, models.resolve_subject(subject), engine)


def _measured(
    sides: Sequence[Side], workloads: Sequence[Workload], effort: str, cache: Path, *, output: bool
) -> Results:
    """Measure all variants in the same sessions, and return what a results file holds of them."""
    started = datetime.now(timezone.utc)
    threads = max(each.subject.load_options.n_threads for each in sides)
    control = measure_control(threads)
    speeds = {each.subject: Speed.of(_size(each), control) for each in sides}
    benchmarks = _benchmarks([each.subject for each in sides], workloads, output=output)
    plan = make_plan(benchmarks, effort, speed_of=speeds.__getitem__)
    (campaign,) = plan.campaigns
    machine = qualification.read(cache, fingerprint.fingerprint())
    rule = rule_for(effort, plan.family, machine.tau)
    first, *others = sides
    outputs = compare_outputs_of(sides, command.on_progress) if output else ((), "")
    context = measurement_context(ProgressDisplay(command.on_progress), TimeLimits(), time.monotonic, control)
    command.on_progress(
        f"{len(sides)} variants, {rule.looks[0]} to {rule.looks[-1]} sessions, about "
        f"{campaign.planned.until(rule.least_sessions):.0f} s until a single loss can be called"
    )
    found = measure_variants(campaign, (*others, first), rule, context)
    asked = [
        (pair, question.asked) for question in campaign.questions for pair in _pairs(found[question.workload])
    ]
    decisions = Decisions(rule, asked)
    findings = [
        _finding(each, campaign, found[each.workload], outputs, decisions) for each in plan.benchmarks
    ]
    parts: dict[str, Any] = fingerprint.parts()
    return results_of(
        sorted(findings, key=lambda each: benchmarks.index(each.benchmark)),
        started,
        datetime.now(timezone.utc),
        Machine(fingerprint.fingerprint(), **parts, qualified=machine.since),
        rule,
        questions=asked,
    )


def _benchmarks(
    subjects: Sequence[Subject], workloads: Sequence[Workload], *, output: bool
) -> list[Benchmark]:
    asked = VariantsAsked(
        tuple(Gate(METRICS[name], METRICS[name].tolerance) for name in _SPEEDS.values()), output
    )
    labels = labels_of(subjects)
    found = []
    for workload in workloads:
        for label, subject in zip(labels, subjects, strict=True):
            name = f"{label}, {workload}"
            key = TestKey("compare", "variants", name)
            found.append(Benchmark(f"compare[{name}]", key, subject, workload, variants=asked))
    return found


def _pairs(found: tuple[PairedRun, ...] | EngineError) -> tuple[PairedRun, ...]:
    return found if isinstance(found, tuple) else ()


def _finding(
    benchmark: Benchmark,
    campaign: Campaign,
    pairs: tuple[PairedRun, ...] | EngineError,
    outputs: tuple[tuple[VariantOutput, ...], str],
    decisions: Decisions,
) -> Finding:
    labels = labels_of(campaign.variants)
    place = campaign.variants.index(benchmark.subject)
    if not isinstance(pairs, tuple):
        variant = VariantFinding(labels[place], labels[0] if place else "")
        return Finding(benchmark, problem=str(pairs), outcome="error", variant=variant)
    judged = judge_variant(benchmark, campaign.variants, MeasuredVariants(pairs, *outputs), decisions)
    return replace(judged, outcome="passed")


def _size(side: Side) -> Size:
    model = side.model
    return Size(model.file_bytes, model.parameters, 4 * model.layers * model.embedding_length)


def _answer(results: Results, by: str) -> command.Answer:
    (tests,) = groups(results)
    notes = list(dict.fromkeys(note for test in tests if test.run is not None for note in test.notes))
    lines = [*table(_sorted(tests, _SORTED[by])), *(f"note: {each}" for each in notes), "", *sentences(tests)]
    failed = any(test.run is None for test in tests)
    return command.Answer(int(failed), lines, {"rows": [_document(each) for each in tests], "notes": notes})


def _sorted(tests: Sequence[TestEntry], by: str) -> list[TestEntry]:
    def value(test: TestEntry) -> float:
        entry = test.metrics.get(by)
        if entry is None:
            return float("inf")
        return -entry.value if entry.better == "higher" else entry.value

    return sorted(tests, key=value) if by else list(tests)


def _document(test: TestEntry) -> dict[str, Any]:
    assert test.variant is not None
    return {
        "variant": test.variant.label,
        "depth": test.workload.depth,
        "problem": "" if test.run is not None else "; ".join(test.notes),
        "speeds": {title: _figures(test.metrics.get(name)) for title, name in _SPEEDS.items()},
        "memory": {
            title: test.metrics[name].value for title, name in _MEMORY.items() if name in test.metrics
        },
        "output": str(test.variant.output or ""),
    }


def _figures(entry: MetricEntry | None) -> dict[str, Any]:
    compared = entry.variant if entry is not None else None
    return {
        "value": None if entry is None else entry.value,
        "change": None if compared is None else compared.change,
        "interval": None if compared is None else compared.interval,
        "verdict": None if compared is None else compared.verdict.value,
        "word": None if compared is None else word(compared),
    }
