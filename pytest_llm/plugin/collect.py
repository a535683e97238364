"""Markers become one frozen benchmark an item; everything wrong with it is found here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import LLMBenchError, ModelError, NoModelNamedError, UsageError
from pytest_llm.plugin import markers, pytest_benchmark
from pytest_llm.plugin.declared import Choice, choices, fitted, read_load_options, read_workload
from pytest_llm.plugin.state import BENCHMARK, FUNCTIONAL, PROBLEM
from pytest_llm.records import Benchmark, Claim, Gate, Limit, Subject, TestKey
from pytest_llm.records.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.plugin.session import Bench
    from pytest_llm.records import Workload

# The fixture that carries the parameters; no test uses it by name.
CHOICE = "_llm_choice"


class _Parameter(str):
    """A choice as a test's parameter: a string, so that plugins can write it to files."""

    __slots__ = ("choice",)
    choice: Choice

    @classmethod
    def of(cls, choice: Choice) -> _Parameter:
        parameter = cls(choice.label)
        parameter.choice = choice
        return parameter


def parametrize(metafunc: pytest.Metafunc, bench: Bench) -> None:
    """Make a test for each combination of the lists in its markers, if there is more than one."""
    try:
        found = _choices(metafunc.definition, bench)
    except LLMBenchError:
        return  # reported when the item is read, so that the module's other tests run
    if len(found) > 1:
        metafunc.fixturenames.append(CHOICE)
        parameters = [_Parameter.of(each) for each in found]
        metafunc.parametrize(CHOICE, parameters, ids=parameters, indirect=True)


def read_item(item: pytest.Item, bench: Bench) -> None:
    """Stash the benchmark of an item, or what is wrong with it."""
    benchmark = markers.is_benchmark(item)
    if benchmark:
        item.add_marker(getattr(pytest.mark, markers.BENCHMARK_MARKER))
        pytest_benchmark.join(item, bench.settings.bench)
        _opt_out_of_reruns(item)
    try:
        _read_item(item, bench)
    except (ModelError, NoModelNamedError) as error:
        # A skipped benchmark needs no model, which may exist on another machine only.
        if bench.settings.bench or not benchmark:
            item.stash[PROBLEM] = str(error)
    except LLMBenchError as error:
        item.stash[PROBLEM] = str(error)


def _opt_out_of_reruns(item: pytest.Item) -> None:
    """Keep pytest-rerunfailures from repeating a benchmark until it passes, which has no error rate."""
    if not hasattr(item.config.option, "reruns"):
        return  # its marker is unknown without it
    # The closest marker wins; the condition also holds where counts of marker and option are added up.
    item.add_marker(pytest.mark.flaky(reruns=0, condition=False), append=False)


def _read_item(item: pytest.Item, bench: Bench) -> None:
    declared = _declared(item)
    # The closest marker comes first; a reader expects the order of the source.
    limits = [each for each in reversed(declared.values()) if isinstance(each, Limit)]
    gates: tuple[Gate, ...] = declared.get("llm_no_regression", ())
    if not gates and bench.settings.compares:
        gates = markers.llm_no_regression()
    choice = _choice_of(item, bench)
    workload = read_workload(choice.workload)
    bench.models.check(choice.model)
    model = bench.models.normalize(choice.model)
    options = read_load_options(
        {**bench.models.default_load_options(choice.model), **choice.load_options},
        bench.default_load_options,
    )
    if not markers.is_benchmark(item):
        item.stash[FUNCTIONAL] = Subject(model, bench.candidate, options)
        return
    for metric in (*(limit.metric for limit in limits), *(gate.metric for gate in gates)):
        if metric.series == "inter_token" and workload.generate_tokens < 2:
            raise UsageError(
                f"{metric.title} needs two tokens: raise generate_tokens in llm_workload to 2 or more"
            )
    subject = Subject(model, bench.candidate, fitted(options, workload))
    faster: markers.FasterMark | None = declared.get("llm_faster_than")
    claims = (_claim(faster, subject, workload),) if faster else ()
    item.stash[BENCHMARK] = Benchmark(
        item.nodeid,
        key_of(item),
        subject,
        workload,
        tuple(limits),
        gates,
        claims,
        declared.get("llm_output"),
    )


def _claim(faster: markers.FasterMark, subject: Subject, workload: Workload) -> Claim:
    options = read_load_options(faster.load_options, subject.load_options, "llm_faster_than")
    if options == subject.load_options:
        names = ", ".join(f"{name}={value!r}" for name, value in faster.load_options.items())
        raise UsageError(f"llm_faster_than: the test itself is loaded with {names}")
    return Claim(METRICS[faster.metric], faster.by, replace(subject, load_options=fitted(options, workload)))


def check_baselines(items: Sequence[pytest.Item], bench: Bench) -> None:
    """Stash what is wrong with the baselines that each benchmark needs, before anything is loaded."""
    for item in items:
        try:
            bench.check_baselines(item.stash[BENCHMARK])
        except LLMBenchError as error:
            item.stash[PROBLEM] = str(error)


def _declared(node: pytest.Item) -> dict[str, Any]:
    """Return what each kind of marker declares; the closest marker of a kind wins whole.

    Limits differ by metric: two speeds of different phases are two demands, not one.
    """
    declared: dict[str, Any] = {}
    for mark in node.iter_markers():
        if not mark.name.startswith("llm_") or mark.name == markers.BENCHMARK_MARKER:
            continue
        value = markers.read(mark.name, mark.args, mark.kwargs)
        kind = value.metric.name if isinstance(value, Limit) else mark.name
        declared.setdefault(kind, value)
    return declared


def _choices(node: pytest.Item, bench: Bench) -> list[Choice]:
    declared = _declared(node)
    model = declared.get("llm_model") or markers.ModelMark((), {})
    names = model.models or bench.settings.models
    if not names:
        raise NoModelNamedError(
            "no model: name one in the llm_model marker, or give --llm-model NAME_OR_FILE"
        )
    return choices(names, model.load_options, declared.get("llm_workload") or {})


def _choice_of(item: pytest.Item, bench: Bench) -> Choice:
    callspec = getattr(item, "callspec", None)
    if callspec is not None and CHOICE in callspec.params:
        parameter: _Parameter = callspec.params[CHOICE]
        return parameter.choice
    found = _choices(item, bench)
    if len(found) > 1:
        raise UsageError("lists make parameters only in markers of the test itself, not in pytest.param")
    return found[0]


def key_of(item: pytest.Item) -> TestKey:
    """Return what identifies a test wherever pytest was started."""
    function = getattr(item, "function", None)
    callspec = getattr(item, "callspec", None)
    return TestKey(
        module=getattr(function, "__module__", item.path.stem),
        name=getattr(function, "__qualname__", item.name),
        parameters=callspec.id if callspec is not None else "",
    )


def in_plan_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Move the benchmarks of a subject to its first one; other items stay."""
    first: dict[Subject, int] = {}
    places = []
    for index, item in enumerate(items):
        benchmark = item.stash.get(BENCHMARK, None)
        places.append(first.setdefault(benchmark.subject, index) if benchmark else index)
    return [items[index] for index in sorted(range(len(items)), key=places.__getitem__)]
