"""Predicted beside logged, and what it means where the device has less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.models.footprint.logged import KV, RECURRENT, WEIGHTS, logged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.models.footprint.predicting import Predicted
    from pytest_llm.models.footprint.weights import Placed
    from pytest_llm.records import JSON, LoadOptions

_MIB = 2**20
# Sizes are written to 0.01 MiB, and what a device rounds up makes more of it, never less.
_SLACK = 0.02
_NAMES = {"weights": WEIGHTS, "kv": KV, "recurrent": RECURRENT}


def beside(predicted: Predicted, buffers: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return what is predicted beside what llama.cpp logged, in bytes.

    Returns:
        ``weights``, ``kv`` and ``recurrent``, each with ``predicted`` and ``logged``, which have ``host`` and
        ``device`` or are null; and ``reasons``, why something is not predicted. A kind that there is none of
        is left out.
    """
    found: dict[str, JSON] = {}
    for name, kind in _NAMES.items():
        expected: Placed | None = getattr(predicted, name)
        there = logged(buffers, kind)
        if there is None and (expected is None or not expected.total):
            continue
        found[name] = {"predicted": _pair(expected), "logged": _pair(there)}
    return {**found, "reasons": list(predicted.reasons)}


def shortfall(
    predicted: Predicted, buffers: Mapping[str, JSON], options: LoadOptions, unused: int = 0
) -> str:
    """Return why layers that should be on a device are not there, "" if they are, or nobody can tell.

    Args:
        predicted: With a device that layers can go to.
        buffers: As of :func:`pytest_llm.models.footprint.logged`.
        options: What was asked for.
        unused: The bytes of tensors that llama.cpp said it ignores, wherever they would have gone.
    """
    if not predicted.layers:
        return ""
    there = logged(buffers, WEIGHTS)
    if predicted.weights is not None and there is not None:
        missing = predicted.weights.device - there.device - unused
        # Half a layer is more than what formats and alignment make, however many layers there are.
        allowed = predicted.layer_bytes / 2 or _SLACK * predicted.weights.device
        if missing > allowed:
            return _missing_layers(predicted, there.device, options)
    cached = logged(buffers, KV)
    if predicted.kv is not None and cached is not None:
        expected = predicted.kv.device
        if cached.device < expected * (1 - _SLACK) - _MIB / 100:
            return (
                f"{_mib(expected)} of KV cache should be on the device, {_mib(cached.device)} are there; "
                "the rest is on the CPU"
            )
    return ""


def asked_for(predicted: Predicted, options: LoadOptions) -> str:
    """Say how many layers were asked for: "n_gpu_layers=-1 asks for all 31 layers"."""
    every = "all " if options.n_gpu_layers < 0 else ""
    plural = "s" if predicted.layers != 1 else ""
    return f"n_gpu_layers={options.n_gpu_layers} asks for {every}{predicted.layers} layer{plural}"


def _missing_layers(predicted: Predicted, there: int, options: LoadOptions) -> str:
    assert predicted.weights is not None
    expected = predicted.weights.device
    held = int(predicted.layers * there / expected)
    return (
        f"{asked_for(predicted, options)} on a device with {_mib(expected)} of weights: about {held} with "
        f"{_mib(there)} are there, the rest is on the CPU"
    )


def _pair(placed: Placed | None) -> JSON:
    return None if placed is None else {"host": placed.host, "device": placed.device}


def _mib(size: int) -> str:
    return f"{size / _MIB:.2f} MiB"
