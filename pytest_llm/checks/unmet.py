"""Load options that did not take effect: what was asked against what the loaded subject shows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines.records import THREADS_AT_WORK
from pytest_llm.checks.findings import Difference
from pytest_llm.engines import ENGINES
from pytest_llm.records import Command, PairedRun, Verdict
from pytest_llm.records.effective_options import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from pytest_llm.records import JSON, LoadOptions, Run

NO_DEVICE = "no device"
_COMMAND = "command line"
_REFERENCE = "reference's "
_LAYERS = "layers_offloaded"
# Load option -> the effective option of another name that shows it.
_SHOWN_BY = {"rope_freq_base": "freq_base", "rope_freq_scale": "freq_scale"}
# Buffers of weights that were repacked, which only extra buffer types do.
_REPACKED = ("CPU_REPACK ", "CPU_AARCH64 ", "AMX ")
_THREADS = ("n_threads", "n_threads_batch")
_CACHE, _HOST = " KV", "CPU"
_CLOSE = 1e-3  # frequencies are logged with few digits
_LEAST_BATCH = 64  # of older releases: GGML_KQ_MASK_PAD


def _at_least(asked: Any, got: Any, _: Collection[Any]) -> bool:
    return bool(got >= asked)  # llama.cpp rounds up


def _limited(asked: Any, got: Any, limits: Collection[Any]) -> bool:
    return got in (asked, max(asked, _LEAST_BATCH), *(min(asked, limit) for limit in limits))


def _unless_auto(asked: Any, got: Any, _: Collection[Any]) -> bool:
    return asked in ("auto", got)


def _unless_zero(asked: Any, got: Any, _: Collection[Any]) -> bool:
    return not asked or math.isclose(asked, got, rel_tol=_CLOSE)


def _same(asked: Any, got: Any, _: Collection[Any]) -> bool:
    return bool(asked == got)


# Load option -> the one that limits it: llama.cpp lowers a batch to the context before it rounds that up.
_LIMITS = {"n_batch": "n_ctx", "n_ubatch": "n_batch"}
# Load options whose effect can be read back, and what honours them. Layers have a check of their own.
_READ_BACK: dict[str, Callable[[Any, Any, Collection[Any]], bool]] = {
    "n_ctx": _at_least,
    "n_batch": _limited,
    "n_ubatch": _limited,
    "n_seq_max": _same,
    "n_threads": _same,
    "n_threads_batch": _same,
    "load_mode": _unless_auto,
    "use_extra_bufts": _same,
    "offload_kqv": _same,
    "flash_attn": _unless_auto,
    "type_k": _same,
    "type_v": _same,
    "kv_unified": _same,
    "rope_freq_base": _unless_zero,
    "rope_freq_scale": _unless_zero,
}


def unmet_options(
    asked: LoadOptions, effective: Mapping[str, JSON], whose: str = ""
) -> tuple[Difference, ...]:
    """Return the load options that a loaded subject does not have; ``whose`` is put before their names."""
    shown = normalize(effective)
    return tuple(
        Difference(f"{whose}{name}", value, got)
        for name, honoured in _READ_BACK.items()
        for value in (getattr(asked, name),)
        for got in (_effect(name, value, shown),)
        if got is not None and not honoured(value, got, _limits(name, asked, shown))
    )


def _limits(name: str, asked: LoadOptions, shown: Mapping[str, JSON]) -> list[Any]:
    limit = _LIMITS.get(name)
    if limit is None:
        return []
    return [getattr(asked, limit), *([shown[limit]] if limit in shown else [])]


def _effect(name: str, asked: object, shown: Mapping[str, JSON]) -> Any:
    buffers = shown.get("buffers_mib")
    if not asked and isinstance(buffers, dict):
        if name == "use_extra_bufts":
            return any(each.startswith(_REPACKED) for each in buffers)
        if name == "offload_kqv":
            return any(each.endswith(_CACHE) and not each.startswith(_HOST) for each in buffers)
    effect = shown.get(_SHOWN_BY.get(name, name))
    at_work = shown.get(THREADS_AT_WORK)
    if name in _THREADS and isinstance(effect, int) and isinstance(at_work, (int, float)):
        return min(effect, at_work)
    return effect


def unmet_of(
    measured: Run | PairedRun, claims: Sequence[PairedRun], *, wants_device: bool = False
) -> tuple[Difference, ...]:
    """Return the load options that were not in effect while a benchmark and its references were measured.

    Args:
        measured: The run of its subject, alone or beside a reference.
        claims: The pairs of its claims; their candidates are that subject.
        wants_device: Layers on a device were asked for in so many words, with ``n_gpu_layers=-1``.
    """
    own = measured.candidate if isinstance(measured, PairedRun) else measured
    others = [pair.reference for pair in (measured, *claims) if isinstance(pair, PairedRun)]
    found = [*_of_run(own), *(each for other in others for each in _of_run(other, _REFERENCE))]
    found += missing_device(own.effective_options) if wants_device else ()
    return tuple(dict.fromkeys(found))


def missing_device(effective: Mapping[str, JSON]) -> tuple[Difference, ...]:
    """Return a remark on a model without a layer on a device; nothing if it has one."""
    layers = effective.get(_LAYERS)
    found = isinstance(layers, str) and layers.startswith("0/")
    return (Difference("n_gpu_layers", -1, layers, NO_DEVICE),) if found else ()


def _of_run(run: Run, whose: str = "") -> Iterator[Difference]:
    found = unmet_options(run.subject.load_options, run.effective_options, whose)
    entry = ENGINES.get(run.subject.build.engine)
    # Both are measured as they are; a tool chooses flags of its own.
    if isinstance(run.subject.build, Command) or (entry is not None and entry.wraps):
        found = tuple(replace(each, expected=_COMMAND) for each in found)
    yield from found


def verdict(unmet: Sequence[Difference]) -> Verdict | None:
    """Return drift if an option is not in effect; None if all are, or it is only worth a note."""
    return Verdict.DRIFT if any(not each.expected for each in unmet) else None


def sentence(unmet: Sequence[Difference]) -> str:
    """Return one line: what was asked for, and what is in effect."""
    return "; ".join(_text(each) for each in unmet)


def _text(difference: Difference) -> str:
    if difference.expected == NO_DEVICE:
        return (
            f"n_gpu_layers=-1 asks for all layers on a device, and there is none: {difference.now} are on one"
        )
    return f"{difference.name}={difference.before} was asked for, {difference.now} is in effect"


def next_step(unmet: Sequence[Difference]) -> str:
    """Return what to do about options that are not in effect."""
    locks = any("mlock" in str(each.before) and "mlock" not in str(each.now) for each in unmet)
    raised = "raise the limit of locked memory (ulimit -l; LimitMEMLOCK= of a service), or " if locks else ""
    idle = any(each.name.endswith(_THREADS) for each in unmet)
    raised += "allow more processors (affinity, or the control group's CPU quota), or " if idle else ""
    return f"next: {raised}ask for what is in effect; --llm-drift=warn judges the rest all the same"
