"""Markers become one frozen benchmark an item; everything wrong with it is found here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import LLMBenchError, ModelError, NoModelNamedError, UsageError
from pytest_llm.models.adapters import format_adapters, parse_adapters
from pytest_llm.plugin import bounds, late, markers, pytest_benchmark
from pytest_llm.plugin.declared import Choice, choices, fitted, read_load_options, read_workload
from pytest_llm.plugin.identity import CHOICE, key_of, nodeid_of, place_of
from pytest_llm.plugin.items import is_benchmark, is_ours, is_written, markers_of, taken_too_widely
from pytest_llm.plugin.state import BENCHMARK, FUNCTIONAL, MARKED, PROBLEM, READ
from pytest_llm.plugin.suite_file import place_of_table, problem_of
from pytest_llm.records import Benchmark, Claim, Gate, Limit, Subject
from pytest_llm.records.metrics import EMBEDDING_SPEED, METRICS
from pytest_llm.system.text import without_commands

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_llm.plugin.homes import Home
    from pytest_llm.plugin.session import Bench
    from pytest_llm.records import LoadOptions, VariantsAsked, Workload


def parametrize(metafunc: pytest.Metafunc, bench: Bench) -> None:
    """Make a test for each combination of the lists in its markers, if there is more than one."""
    try:
        found = _choices(metafunc.definition, bench)
    except LLMBenchError:
        return  # reported when the item is read, so that the module's other tests run
    if len(found) > 1:
        metafunc.fixturenames.append(CHOICE)
        labels = [each.label for each in found]
        # Pytest escapes what cannot be printed; names of files may be commands all the same.
        metafunc.parametrize(CHOICE, labels, ids=[*map(without_commands, labels)], indirect=True)


def mark(item: pytest.Item, bench: Bench) -> None:
    """Mark an item as the benchmark that it is, for the selection by marker and for other plugins."""
    item.stash[MARKED] = True
    item.add_marker(getattr(pytest.mark, markers.BENCHMARK_MARKER))
    pytest_benchmark.join(item, bench.settings.bench)
    _opt_out_of_reruns(item)


def read_item(item: pytest.Item, bench: Bench) -> None:
    """Stash the benchmark of an item, or what is wrong with it."""
    benchmark = is_benchmark(item)
    if benchmark and MARKED not in item.stash:
        mark(item, bench)
    item.stash[READ] = markers_of(item)
    place = place_of_table(item)
    if problem_of(item):
        item.stash[PROBLEM] = problem_of(item)
        return
    try:
        _check_scopes(item)
        if benchmark:
            item.stash[BENCHMARK] = benchmark_of(item, bench)
        else:
            item.stash[FUNCTIONAL] = loaded_by(item, bench)
    except (ModelError, NoModelNamedError) as error:
        # A skipped benchmark needs no model, which may exist on another machine only.
        if bench.settings.bench or not benchmark:
            item.stash[PROBLEM] = f"{place}{error}"
    except LLMBenchError as error:
        item.stash[PROBLEM] = f"{place}{error}"


def _check_scopes(item: pytest.Item) -> None:
    found = taken_too_widely(item)
    if found:
        name, taker = found
        raise UsageError(f"the fixture {taker} has a wider scope than {name} has: {late.WIDER[name]}")


def _opt_out_of_reruns(item: pytest.Item) -> None:
    """Keep pytest-rerunfailures from repeating a benchmark until it passes, which has no error rate."""
    if not hasattr(item.config.option, "reruns"):
        return  # its marker is unknown without it
    # The closest marker wins; the condition also holds where counts of marker and option are added up.
    item.add_marker(pytest.mark.flaky(reruns=0, condition=False), append=False)


def loaded_by(item: pytest.Item, bench: Bench) -> Subject:
    """Return what an item loads.

    Raises:
        LLMBenchError: Its markers make no sense.
    """
    choice = _choice_of(item, bench)
    return subject_of(choice.model, choice.load_options, bench.homes.of(item.path), bench)


def wants_device(item: pytest.Item, bench: Bench) -> bool:
    """Return if a marker or the table of models has ``n_gpu_layers=-1``, which is the default as well."""
    choice = _choice_of(item, bench)
    defaults = bench.homes.of(item.path).default_load_options(choice.model)
    return {**defaults, **choice.load_options}.get("n_gpu_layers") == -1


def benchmark_of(item: pytest.Item, bench: Bench) -> Benchmark:
    """Return what an item measures and checks.

    Raises:
        LLMBenchError: Its markers make no sense.
    """
    declared = _declared(item)
    # The closest marker comes first; a reader expects the order of the source.
    limits = [each for each in reversed(declared.values()) if isinstance(each, Limit)]
    gates: tuple[Gate, ...] = declared.get("llm_no_regression", ())
    variants: VariantsAsked | None = declared.get("llm_compare")
    if variants is not None:
        _check_compares_only(declared, limits)
    elif not gates and bench.settings.compares:
        gates = markers.llm_no_regression()
    workload = read_workload(_choice_of(item, bench).workload)
    gates = _of_the_work(gates, workload)
    if variants is not None:
        variants = replace(
            variants,
            gates=_of_the_work(variants.gates, workload),
            output=variants.output and not workload.embed,
        )
    loaded = loaded_by(item, bench)
    asked = [each.metric for each in limits]
    asked += [each.metric for each in (*gates, *(variants.gates if variants is not None else ()))]
    for metric in asked:
        if metric.series == "inter_token" and workload.generate_tokens < 2 and not workload.embed:
            raise UsageError(
                f"{metric.title} needs two tokens: raise generate_tokens in llm_workload to 2 or more"
            )
    subject = replace(loaded, load_options=fitted(loaded.load_options, workload))
    if bench.settings.reference_of(subject) is not None:
        bounds.check_holds(gates, bench.measuring.tau)
    faster: tuple[markers.FasterMark, ...] = declared.get("llm_faster_than", ())
    file, line = place_of(item)
    return Benchmark(
        nodeid_of(item, bench.homes),
        key_of(item, bench.homes),
        subject,
        workload,
        tuple(limits),
        gates,
        tuple(_claim(each, subject, workload, bench.homes.of(item.path)) for each in faster),
        declared.get("llm_output"),
        variants,
        bench.homes.of(item.path).name,
        wants_device=wants_device(item, bench),
        file=file,
        line=line,
    )


def _check_compares_only(declared: Mapping[str, Any], limits: Sequence[Limit]) -> None:
    for other in ("llm_no_regression", "llm_faster_than"):
        if other in declared:
            raise UsageError(
                f"llm_compare tells how variants differ, and {other} judges one of them by another: leave "
                "one of the two out, or write two tests"
            )
    if any(limit.metric.slope for limit in limits):
        raise UsageError("llm_leak needs its subject alone: write another test, without llm_compare")


def subject_of(
    model: str, load_options: Mapping[str, object], home: Home, bench: Bench, where: str = "llm_model"
) -> Subject:
    """Return a model with load options, on the candidate.

    Args:
        model: Name or path.
        load_options: As declared.
        home: Whose table of models names it.
        bench: Of this run.
        where: They were declared, for messages.

    Raises:
        LLMBenchError: There is no such model, or no such load option.
    """
    home.check_model(model)
    defaults = home.default_load_options(model)
    options = read_load_options({**defaults, **load_options}, bench.default_load_options, where)
    return Subject(home.normalize_model(model), bench.candidate, _of_the_home(options, home))


def _of_the_work(gates: tuple[Gate, ...], workload: Workload) -> tuple[Gate, ...]:
    """Return gates with the speed of embedding in the place of the default, if texts are embedded."""
    default = tuple(gate.metric.name for gate in gates) == markers.DEFAULT_GATES
    return (replace(gates[0], metric=METRICS[EMBEDDING_SPEED]),) if workload.embed and default else gates


def _of_the_home(options: LoadOptions, home: Home) -> LoadOptions:
    """Return load options with the one name of each file: paths in a marker begin at the test's home."""

    def unique(name: str) -> str:
        home.check_model(name)
        return home.normalize_model(name)

    named = tuple(each._replace(file=unique(each.file)) for each in parse_adapters(options.lora))
    draft = unique(options.draft_model) if options.draft_model else ""
    return replace(options, lora=format_adapters(named), draft_model=draft)


def _claim(faster: markers.FasterMark, subject: Subject, workload: Workload, home: Home) -> Claim:
    options = read_load_options(faster.load_options, subject.load_options, "llm_faster_than")
    if {"lora", "draft_model"} & faster.load_options.keys():
        options = _of_the_home(options, home)
    if options == subject.load_options:
        names = ", ".join(f"{name}={value!r}" for name, value in faster.load_options.items())
        raise UsageError(f"llm_faster_than: the test itself is loaded with {names}")
    return Claim(METRICS[faster.metric], faster.by, replace(subject, load_options=fitted(options, workload)))


def check_baselines(items: Sequence[pytest.Item], bench: Bench) -> None:
    """Stash what is wrong with the baselines that each benchmark needs, before anything is loaded."""
    for item in items:
        try:
            bench.stored.check(item.stash[BENCHMARK])
        except LLMBenchError as error:
            item.stash[PROBLEM] = str(error)


def _declared(item: pytest.Item) -> dict[str, Any]:
    """Return what each kind of marker declares; the closest place wins whole, and its own markers add up.

    Limits differ by metric: two speeds of different phases are two demands, not one.
    """
    declared: dict[str, Any] = {}
    places: dict[str, object] = {}
    for place, mark in _placed(item):
        if not is_ours(mark.name, item.config) or mark.name in markers.SELECTING:
            continue
        value = markers.read(mark.name, mark.args, mark.kwargs)
        kind = value.metric.name if isinstance(value, Limit) else mark.name
        if kind not in declared:
            declared[kind], places[kind] = value, place
        elif places[kind] is place:
            declared[kind] = markers.together(mark.name, declared[kind], value)
    return declared


def _placed(item: pytest.Item) -> Iterator[tuple[object, pytest.Mark]]:
    """Yield markers with their places, the closest first: a class before those that it inherits from."""
    for node in reversed(item.listchain()):
        classes = node.obj.__mro__ if isinstance(node, pytest.Class) else ()
        by_class: dict[object, list[pytest.Mark]] = {node: [], **{each: [] for each in classes}}
        for mark in node.own_markers:
            origin = next(
                (each for each in classes if is_written(mark, each.__dict__.get("pytestmark"))), node
            )
            by_class[origin].append(mark)
        yield from ((place, mark) for place, marks in by_class.items() for mark in marks)


def _choices(item: pytest.Item, bench: Bench) -> list[Choice]:
    declared = _declared(item)
    model = declared.get("llm_model") or markers.ModelMark((), {})
    names = model.models or bench.settings.models
    if not names:
        raise NoModelNamedError(
            "no model: name one in the llm_model marker, or give --llm-model NAME_OR_FILE"
        )
    return choices(names, model.load_options, declared.get("llm_workload") or {})


def _choice_of(item: pytest.Item, bench: Bench) -> Choice:
    found = _choices(item, bench)
    label = _label(item)
    if label is None and len(found) == 1:
        return found[0]
    # Hooks may have added markers since the parameters were made, but the lists must be the same.
    chosen = [each for each in found if each.label == label]
    if not chosen:
        raise UsageError(_why_no_choice(item))
    return chosen[0]


def _label(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get(CHOICE)


def _why_no_choice(item: pytest.Item) -> str:
    from unittest import TestCase

    makes = "lists in markers and several --llm-model make parameters"
    if _label(item) is not None:
        return (
            "a hook changed the lists that made the parameters of this test: write them on the test, its "
            "class or its module"
        )
    if issubclass(getattr(item, "cls", None) or object, TestCase):
        return (
            f"{makes}, which methods of a unittest.TestCase cannot have: give one value, or move the test "
            "out of the TestCase"
        )
    if not isinstance(item, pytest.Function):
        return f"{makes}, which only test functions can have: give one value"
    if READ not in item.stash:
        return (
            f"{makes} at collection, but this test asks for a model while it runs: name one with llm_model, "
            "or take the fixture as an argument of the test"
        )
    if any(mark.name in markers.KNOWN for mark in getattr(getattr(item, "callspec", None), "marks", ())):
        return "lists make parameters only in markers of the test itself, not in pytest.param"
    return (
        "lists make parameters only in markers that are written on the test, its class or its module: a hook "
        "adds them too late"
    )


def in_plan_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Move the benchmarks of a subject to its first one; other items stay."""
    first: dict[Subject, int] = {}
    places = []
    for index, item in enumerate(items):
        benchmark = item.stash.get(BENCHMARK, None)
        places.append(first.setdefault(benchmark.subject, index) if benchmark else index)
    return [items[index] for index in sorted(range(len(items)), key=places.__getitem__)]
