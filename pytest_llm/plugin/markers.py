"""The markers: each is a function that turns a marker's arguments into a record.

A function's signature is the marker's signature, its docstring's first line the marker's help; pytest and
the check of arguments read both from here. This module loads in every run of pytest, so what its functions
need is imported inside them.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.records import Gate, Limit, OutputGate, VariantsAsked


DEFAULT_GATES = ("prompt_tokens_per_second", "generation_tokens_per_second")
_PHASES = ("generation", "prompt", "total", "embedding")


@dataclass(frozen=True)
class ModelMark:
    """Arguments of ``llm_model``: names or paths (none means ``--llm-model``), and load options."""

    models: Sequence[str]
    load_options: dict[str, object]


def llm_model(name_or_path: str | Sequence[str] = (), **load_options: object) -> ModelMark:
    """The GGUF model to load, by name or path, with llama.cpp's load options; lists make parameters."""
    from pytest_llm.errors import UsageError

    names = [name_or_path] if isinstance(name_or_path, str) else name_or_path
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"llm_model: {name_or_path!r} is neither a name, a path, nor a list of them")
    return ModelMark(names, load_options)


def llm_workload(
    prompt_tokens: int | Sequence[int] = 128,
    generate_tokens: int | Sequence[int] = 64,
    depth: int | Sequence[int] = 0,
    parallel: int | Sequence[int] = 1,
    embed: bool = False,
) -> dict[str, object]:
    """The request to measure, in tokens for each of the parallel sequences; lists make parameters.

    With ``embed``, ``parallel`` texts of ``prompt_tokens`` are embedded together, and nothing is generated.
    """
    default = inspect.signature(llm_workload).parameters["generate_tokens"].default
    return {
        "prompt_tokens": prompt_tokens,
        "generate_tokens": 0 if embed and generate_tokens == default else generate_tokens,
        "depth": depth,
        "parallel": parallel,
        "embed": embed,
    }


def llm_tokens_per_second(
    min: str | float,  # noqa: A002 - it is what users write
    phase: Literal["generation", "prompt", "total", "embedding"] = "generation",
) -> Limit:
    """Fail below this speed of generation, of the prompt, in total (whole requests), or of embedding."""
    from pytest_llm.errors import UnknownNameError
    from pytest_llm.plugin.bounds import limit

    if phase not in _PHASES:
        raise UnknownNameError("phase of llm_tokens_per_second", str(phase), _PHASES)
    return limit("llm_tokens_per_second", f"{phase}_tokens_per_second", min)


def llm_first_token_latency(max: str | float, percentile: float = 50) -> Limit:  # noqa: A002
    """Fail if the first token of a request takes longer; the percentile is over all requests of a run."""
    from pytest_llm.plugin.bounds import limit_at

    return limit_at("llm_first_token_latency", "first_token_latency", percentile, max)


def llm_inter_token_latency(max: str | float, percentile: float = 50) -> Limit:  # noqa: A002
    """Fail if the time between two tokens is longer; the percentile is over all tokens of a run."""
    from pytest_llm.plugin.bounds import limit_at

    return limit_at("llm_inter_token_latency", "inter_token_latency", percentile, max)


def llm_load_time(max: str | float) -> Limit:  # noqa: A002
    """Fail if loading the model and creating a context takes longer (the file is in the page cache)."""
    from pytest_llm.plugin.bounds import limit

    return limit("llm_load_time", "load_time", max)


def llm_vram(max: str | float) -> Limit:  # noqa: A002
    """Fail if the peak memory of the worker on all GPUs together is higher."""
    from pytest_llm.plugin.bounds import limit

    return limit("llm_vram", "peak_vram", max)


def llm_ram(
    max: str | float,  # noqa: A002
    kind: Literal["total", "anonymous", "file"] = "total",
) -> Limit:
    """Fail if the peak memory of the worker is higher: total, anonymous, or file-backed."""
    from pytest_llm.errors import UnknownNameError
    from pytest_llm.plugin.bounds import limit

    kinds = {"total": "peak_ram", "anonymous": "peak_ram_anonymous", "file": "peak_ram_file"}
    if kind not in kinds:
        raise UnknownNameError("kind of llm_ram", str(kind), kinds)
    return limit("llm_ram", kinds[kind], max)


def llm_leak(max: str | float) -> Limit:  # noqa: A002
    """Fail if memory grows by more bytes with each generated token."""
    from pytest_llm.plugin.bounds import limit

    return limit("llm_leak", "leaked_bytes_per_token", max)


def llm_limit(
    metric: str,
    min: str | float | None = None,  # noqa: A002
    max: str | float | None = None,  # noqa: A002
) -> Limit:
    """Fail if the metric of this name is below the minimum or above the maximum."""
    from pytest_llm.errors import UsageError
    from pytest_llm.plugin.bounds import bounded
    from pytest_llm.records.metrics import find

    found = find(metric)
    bounds = {"min": min, "max": max}
    right, wrong = ("min", "max") if found.better == "higher" else ("max", "min")
    bound = bounds[right]
    if bound is None or bounds[wrong] is not None:
        raise UsageError(f"llm_limit: {metric} is better when {found.better}: give it {right}, and only that")
    return bounded("llm_limit", found, bound)


def llm_no_regression(
    *metrics: str, tolerance: str | float | None = None, negligible: str | float | None = None
) -> tuple[Gate, ...]:
    """Fail if a metric (default: prompt and generation speed) is worse than the reference or its baseline.

    The default of a workload that embeds is its speed.
    A loss as large as the tolerance must be detected. The default is each metric's own: 0 for counts, 3 % for
    RAM, 5 % for all others. A loss up to ``negligible`` fails no comparison with a reference; the default is
    a fifth of the tolerance. Of times it is at least three times the bias that this machine may have.
    """
    from pytest_llm.plugin import bounds

    gates = _gates("llm_no_regression", metrics, tolerance)
    return gates if negligible is None else bounds.negligible(negligible, gates)


def _gates(marker: str, names: Sequence[str], tolerance: str | float | None) -> tuple[Gate, ...]:
    from pytest_llm.errors import UsageError
    from pytest_llm.plugin import bounds
    from pytest_llm.records import Gate
    from pytest_llm.records.metrics import find

    found = [find(name) for name in dict.fromkeys(names or DEFAULT_GATES)]
    ratio = None if tolerance is None else bounds.tolerance(marker, tolerance, found)
    for metric in found:
        if metric.slope:
            raise UsageError(
                f"{marker}: {metric.name} is about 0, and may be below, so no share of it is a tolerance; "
                "set a limit with llm_leak"
            )
    return tuple(Gate(metric, metric.tolerance if ratio is None else ratio) for metric in found)


def llm_output(
    prompts: Sequence[str] | str | None = None,
    top_k: int = 20,
    max_kl: float | None = None,
    max_distance: float | None = None,
) -> OutputGate:
    """Fail, before any timing, if the output differs from the reference or from the stored snapshot."""
    from pytest_llm.plugin.bounds import output_gate

    return output_gate(prompts, top_k, max_kl, max_distance)


@dataclass(frozen=True)
class FasterMark:
    """Arguments of ``llm_faster_than``: the metric, the ratio, and the other load options."""

    metric: str
    by: float
    load_options: dict[str, object]


def llm_faster_than(
    by: str | float,
    phase: Literal["generation", "prompt", "total", "embedding"] = "generation",
    **load_options: object,
) -> tuple[FasterMark, ...]:
    """Fail unless this is faster, by this ratio, than the same model and build with these load options."""
    from pytest_llm.errors import UnknownNameError, UsageError
    from pytest_llm.plugin.bounds import claimed

    if phase not in _PHASES:
        raise UnknownNameError("phase of llm_faster_than", str(phase), _PHASES)
    ratio = claimed(by)
    if not load_options:
        raise UsageError(
            "llm_faster_than: than what? name a load option: llm_faster_than('10%', flash_attn='off')"
        )
    return (FasterMark(f"{phase}_tokens_per_second", ratio, load_options),)


def llm_compare(*metrics: str, tolerance: str | float | None = None, output: bool = True) -> VariantsAsked:
    """Measure the parameters of a test in the same sessions, and tell how each differs from the first.

    A metric (default: prompt and generation speed) within the tolerance is told to be equal; nothing fails.
    Outputs are compared as well, unless ``output`` is false.
    """
    from pytest_llm.errors import UsageError
    from pytest_llm.records import VariantsAsked

    if not isinstance(output, bool):
        raise UsageError(f"llm_compare: output={output!r} is neither True nor False")
    return VariantsAsked(_gates("llm_compare", metrics, tolerance), output)


LIMITS: tuple[Callable[..., Limit], ...] = (
    llm_tokens_per_second,
    llm_first_token_latency,
    llm_inter_token_latency,
    llm_load_time,
    llm_vram,
    llm_ram,
    llm_leak,
    llm_limit,
)
_DECLARING: tuple[Callable[..., Any], ...] = (
    llm_model,
    llm_workload,
    *LIMITS,
    llm_no_regression,
    llm_output,
    llm_faster_than,
    llm_compare,
)
MARKERS = {function.__name__: function for function in _DECLARING}
# Set on every benchmark, for `-m`; written by hand, it asks for the default workload.
BENCHMARK_MARKER = "llm_bench"
# On what a suite can do in three minutes, for `-m`.
QUICK_MARKER = "llm_quick"
SELECTING = frozenset({BENCHMARK_MARKER, QUICK_MARKER})
KNOWN = frozenset({*SELECTING, *MARKERS})
MEASURED = KNOWN - {llm_model.__name__, QUICK_MARKER}


def ini_lines() -> list[str]:
    """Return one line for each marker, as ``pytest --markers`` shows it."""
    lines = [
        f"{name}{_signature(function)}: {(function.__doc__ or '').splitlines()[0]}"
        for name, function in MARKERS.items()
    ]
    return [
        *lines,
        f"{BENCHMARK_MARKER}: Set by the plugin on every benchmark; `-m llm_bench` selects them.",
        f"{QUICK_MARKER}: Set by suites on what takes three minutes in all; `-m llm_quick` selects it.",
    ]


def read(name: str, arguments: Sequence[object], keywords: Mapping[str, Any]) -> Any:
    """Return what a marker declares.

    Raises:
        UnknownNameError: There is no such marker, or it has no such argument.
        UsageError: An argument is missing, or its value makes no sense.
    """
    from pytest_llm.errors import UnknownNameError, UsageError
    from pytest_llm.records.other_tools import unknown_argument

    if name not in MARKERS:
        raise UnknownNameError("marker", name, KNOWN, fix="if it is your own, register it under markers")
    function = MARKERS[name]
    parameters = inspect.signature(function).parameters.values()
    known = [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]
    if len(known) == len(parameters):
        for keyword in keywords:
            if keyword not in known:
                raise unknown_argument(f"argument of {name}", keyword, known)
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError as error:
        raise UsageError(f"{name}: {error}; it is {name}{_signature(function)}") from None
    try:
        return function(*arguments, **keywords)
    except (TypeError, ValueError, OverflowError) as error:  # a value of another type than any expected
        raise UsageError(f"{name}: {error}; it is {name}{_signature(function)}") from None


def together(name: str, first: Any, second: Any) -> Any:
    """Return what two markers of one name at one place declare: both demands, or the stricter of the two.

    Raises:
        UsageError: They contradict each other.
    """
    from pytest_llm.errors import UsageError

    function = MARKERS[name]
    if function in LIMITS:
        return _stricter(first, second)
    if function is llm_no_regression:
        loosest_first = sorted((*first, *second), key=lambda gate: -gate.tolerance)
        strictest = {gate.metric.name: gate for gate in loosest_first}
        names = dict.fromkeys(gate.metric.name for gate in (*first, *second))
        return tuple(strictest[each] for each in names)
    if function is llm_faster_than and not {each.metric for each in first} & {each.metric for each in second}:
        return (*first, *second)
    if first != second:
        raise UsageError(f"the test has two markers {name} that contradict each other: leave one of them out")
    return first


def _stricter(first: Limit, second: Limit) -> Limit:
    choose = max if first.metric.better == "higher" else min
    return choose(first, second, key=lambda limit: limit.bound)


def _signature(function: Callable[..., object]) -> str:
    # Annotations would make the line unreadable; defaults say enough.
    signature = inspect.signature(function)
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))
