"""Values that markers declare: every combination of their lists, checked load options and workloads."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pytest_llm.errors import ContextTooSmallError, UsageError
from pytest_llm.records import LoadOptions, Workload
from pytest_llm.records.other_tools import unknown_argument
from pytest_llm.reports.table import shortened
from pytest_llm.system.text import as_written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# llama.cpp keeps the KV cache in multiples of this.
_CONTEXT_STEP = 256
# The least value of load options that are numbers, where it is not 1.
_LEAST = {
    **{"n_gpu_layers": -1, "main_gpu": 0, "n_cpu_moe": 0, "yarn_orig_ctx": 0},
    **dict.fromkeys(("yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow"), -1),
}
# Load options that are written as on llama.cpp's command line.
_WRITTEN = {
    "tensor_buft_overrides": (re.compile(r"[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*"), r"ffn_.*_exps=CPU"),
    "tensor_split": (re.compile(r"\d+(\.\d+)?(,\d+(\.\d+)?)*"), "3,1"),
    "lora": (re.compile(r"[^,]+(,[^,]+)*"), "style.gguf:0.5"),
    "draft_model": (re.compile(r".+"), "small.gguf"),
}
# llama.cpp's int32_t and float.
_MOST = {int: 2**31 - 1, float: 3.4028234e38}
_LEAST_WORK = {"prompt_tokens": 1, "generate_tokens": 0, "depth": 0, "parallel": 1}


@dataclass(frozen=True)
class Choice:
    """One combination of what lists in markers offer.

    Attributes:
        label: What tells it from the others, for the test's id; "" where there is only one.
        model: Name or path.
        load_options: As declared.
        workload: As declared.
    """

    label: str
    model: str
    load_options: Mapping[str, object]
    workload: Mapping[str, object]


def choices(
    models: Sequence[str], load_options: Mapping[str, object], workload: Mapping[str, object]
) -> list[Choice]:
    """Combine every list among the values; a value that is no list is in every combination."""
    axes = [[_Value("model", "", model, label) for model, label in zip(models, _short(models), strict=True)]]
    for kind, values in (("load", load_options), ("work", workload)):
        for name, value in values.items():
            axes.append([_Value(kind, name, each, _labelled(name, each)) for each in _listed(value)])
    return [_choice(axes, combination) for combination in itertools.product(*axes)]


def _labelled(name: str, value: object) -> str:
    return f"{name}={value if isinstance(value, str) else as_written(value)}"


class _Value(NamedTuple):
    kind: str
    name: str
    value: object
    label: str


def _choice(axes: Sequence[Sequence[_Value]], combination: Sequence[_Value]) -> Choice:
    named: dict[str, dict[str, object]] = {"model": {}, "load": {}, "work": {}}
    for each in combination:
        named[each.kind][each.name] = each.value
    labels = [each.label for axis, each in zip(axes, combination, strict=True) if len(axis) > 1]
    return Choice("-".join(labels), str(named["model"][""]), named["load"], named["work"])


def _short(models: Sequence[str]) -> Sequence[str]:
    """Return the names of files without suffix, and without the folders that they can do without."""
    paths = [PurePath(model.removesuffix(".gguf")).as_posix() for model in models]
    endings = shortened(paths)
    return [
        endings[path] if model.endswith(".gguf") else model for model, path in zip(models, paths, strict=True)
    ]


def _listed(value: object) -> Sequence[object]:
    if not isinstance(value, (list, tuple)):
        return [value]
    if not value:
        raise UsageError("a list of parameters is empty; give at least one value")
    return value


def read_workload(values: Mapping[str, object]) -> Workload:
    """Check the values of ``llm_workload``.

    Raises:
        UsageError: A value has an unknown name, is not a whole number, or too small.
    """
    known = [each.name for each in fields(Workload)]
    for name, value in values.items():
        if name not in known:
            raise unknown_argument("argument of llm_workload", name, known)
        if name != "embed":
            _check_number(f"llm_workload: {name}", value, int, _LEAST_WORK[name])
        elif not isinstance(value, bool):
            raise UsageError(f"llm_workload: embed={value!r} is neither True nor False")
    work = Workload(**values)  # type: ignore[arg-type]
    if work.embed and (work.generate_tokens or work.depth):
        raise UsageError(
            "llm_workload: embed=True embeds whole texts: leave generate_tokens and depth out, or embed"
        )
    if not work.embed and not work.generate_tokens:
        raise UsageError("llm_workload: generate_tokens=0 is less than 1")
    return work


def read_load_options(
    values: Mapping[str, object], defaults: LoadOptions, marker: str = "llm_model"
) -> LoadOptions:
    """Check load options and lay them over the defaults.

    Args:
        values: As declared.
        defaults: What holds where nothing is declared.
        marker: Where they were declared.

    Raises:
        UsageError: An option is unknown, or its value of the wrong kind or out of range.
    """
    kinds = _kinds()
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in kinds:
            raise unknown_argument("load option", name, kinds)
        checked[name] = _load_option(f"{marker}: {name}", value, kinds[name])
    if "n_threads" in checked:
        checked.setdefault("n_threads_batch", checked["n_threads"])
    return replace(defaults, **checked)


@functools.lru_cache(maxsize=1)
def _kinds() -> dict[str, Any]:
    return get_type_hints(LoadOptions)


def _load_option(what: str, value: object, kind: Any) -> object:
    name = what.rpartition(" ")[2]
    if get_origin(kind) is Literal:
        if name == "flash_attn" and isinstance(value, bool):
            return "on" if value else "off"
        if value not in get_args(kind):
            raise UsageError(f"{what}={value!r} is not one of {', '.join(get_args(kind))}")
    elif kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{what}={value!r} is neither True nor False")
    elif kind is str:
        pattern, example = _WRITTEN[name]
        if not isinstance(value, str) or (value and not (pattern.fullmatch(value) and value.isprintable())):
            raise UsageError(f"{what}={value!r} is not written as {example!r}")
    else:
        _check_number(what, value, kind, _LEAST.get(name, 0 if kind is float else 1))
    return value


def _check_number(what: str, value: object, kind: type, least: int) -> None:
    if isinstance(value, (list, tuple)):
        raise UsageError(f"{what}={as_written(value)}: lists make parameters only where a test is defined")
    allowed = (int, float) if kind is float else int
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise UsageError(f"{what}={as_written(value)} is not a {'whole ' if kind is int else ''}number")
    if not value >= least:  # nan is not, either
        raise UsageError(f"{what}={as_written(value)} is less than {least}")
    if value > _MOST[kind]:
        raise UsageError(f"{what}={as_written(value)} is more than llama.cpp takes, {_MOST[kind]:.10g}")


def fitted(load_options: LoadOptions, workload: Workload) -> LoadOptions:
    """Make room for parallel sequences, and check that the context holds the workload.

    Raises:
        ContextTooSmallError: It does not.
    """
    options = replace(load_options, n_seq_max=max(load_options.n_seq_max, workload.parallel))
    if workload.embed and workload.prompt_tokens > min(options.n_ubatch, options.n_batch):
        raise ContextTooSmallError(
            f"a text of {workload.prompt_tokens} tokens is embedded in one ubatch, "
            f"n_ubatch={options.n_ubatch}, n_batch={options.n_batch}: raise both to {workload.prompt_tokens} "
            "in llm_model"
        )
    sequences = workload.parallel if options.kv_unified else options.n_seq_max
    needed = workload.tokens_per_sequence() * sequences
    if needed <= options.n_ctx:
        return options
    enough = -(-needed // _CONTEXT_STEP) * _CONTEXT_STEP
    times = f" times {sequences} sequences" if sequences > 1 else ""
    raise ContextTooSmallError(
        f"the context is too small: depth {workload.depth} + {workload.prompt_tokens} prompt tokens + "
        f"{workload.generate_tokens} generated{times} = {needed} tokens, n_ctx={options.n_ctx}: "
        f"raise n_ctx to {enough} in llm_model"
    )
