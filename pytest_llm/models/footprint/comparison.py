"""Comparison of the predicted footprint with the sizes that llama.cpp logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.models.footprint.weights import Placed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.models.footprint.prediction import Predicted
    from pytest_llm.records import JSON, LoadOptions

_MIB = 2**20
# Backends that compute in the host's memory. Memory pinned by a device's driver is the host's, too.
_HOSTS = ("CPU", "AMX", "BLAS", "KleidiAI", "SpacemiT")
_PINNED = "_Host"

_WEIGHTS, _KV, _RECURRENT = "model", "KV", "RS"
_NAMES = {"weights": _WEIGHTS, "kv": _KV, "recurrent": _RECURRENT}
_SLACK = 0.02  # for sizes logged to 0.01 MiB; devices round up, never down


def logged(buffers: Mapping[str, JSON], kind: str) -> Placed | None:
    """Return the logged bytes of a kind, or None without one; the buffers are MiB by name: "CUDA0 KV"."""
    found = [(name.rpartition(" ")[0], size) for name, size in buffers.items() if name.endswith(f" {kind}")]
    if not found:
        return None
    placed = Placed()
    for buffer, size in found:
        size_in_bytes = round(size * _MIB) if isinstance(size, (int, float)) else 0
        on_host = buffer.startswith(_HOSTS) or buffer.endswith(_PINNED)
        placed += Placed(size_in_bytes, 0) if on_host else Placed(0, size_in_bytes)
    return placed


def compare_with_log(predicted: Predicted, buffers: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return ``predicted`` and ``logged`` bytes of weights and caches on ``host`` and ``device``, or null.

    ``reasons`` tell why something is not predicted.
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
    """Return a message about layers that are missing on the device; "" if none is, or it is unknown.

    ``unused`` are the bytes of tensors that llama.cpp ignores, according to its log.
    """
    if not predicted.layers:
        return ""
    there = logged(buffers, _WEIGHTS)
    if predicted.weights is not None and there is not None:
        expected, held = predicted.weights.device, there.device
        # Half a layer is more than formats and alignment can account for.
        if expected - held - unused > (predicted.layer_bytes / 2 or _SLACK * expected):
            return (
                f"{requested_layers(predicted, options)} on a device with {_mib(expected)} of weights: "
                f"about {int(predicted.layers * held / expected)} with {_mib(held)} are there, "
                "the rest is on the CPU"
            )
    cached = logged(buffers, _KV)
    if predicted.kv is not None and cached is not None:
        expected = predicted.kv.device
        if cached.device < expected * (1 - _SLACK) - _MIB / 100:
            return (
                f"{_mib(expected)} of KV cache should be on the device, {_mib(cached.device)} are there; "
                "the rest is on the CPU"
            )
    return ""


def requested_layers(predicted: Predicted, options: LoadOptions) -> str:
    """Return the request in words: "n_gpu_layers=-1 asks for all 31 layers"."""
    every = "all " if options.n_gpu_layers < 0 else ""
    plural = "s" if predicted.layers != 1 else ""
    return f"n_gpu_layers={options.n_gpu_layers} asks for {every}{predicted.layers} layer{plural}"


def _pair(placed: Placed | None) -> JSON:
    return None if placed is None else {"host": placed.host, "device": placed.device}


def _mib(size: int) -> str:
    return f"{size / _MIB:.2f} MiB"
