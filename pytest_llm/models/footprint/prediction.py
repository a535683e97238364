"""Predicted footprint of a model under load options."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_llm.models import part_paths, read_model
from pytest_llm.models.footprint.cache import UnpredictedError, layers_of
from pytest_llm.models.footprint.weights import Placed, block_bytes, offloaded, weights

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.models import Header
    from pytest_llm.records import LoadOptions


@dataclass(frozen=True)
class Predicted:
    """Predicted bytes; None, with a reason, if they cannot be predicted.

    Attributes:
        layers: The number of layers on devices, including the output.
        layer_bytes: The weights of the smallest of these layers; 0 without one.
    """

    weights: Placed | None
    kv: Placed | None
    recurrent: Placed | None
    layers: int
    layer_bytes: int
    reasons: tuple[str, ...] = ()


def predict_file(path: str, options: LoadOptions, *, on_device: bool) -> Predicted:
    """Return the prediction for a model by its path; raise ModelError if it cannot be read."""
    return predict(header_of(path), options, on_device=on_device)


def header_of(path: str) -> Header:
    """Return the header of a model, cached until a file of the model changes.

    Raises:
        ModelError: It cannot be read.
    """
    return _header(path, tuple(map(_stamp, part_paths(path))))


@lru_cache(maxsize=4)  # skipping a vocabulary takes a moment, and every session asks
def _header(path: str, stamps: tuple[tuple[int, int], ...]) -> Header:  # noqa: ARG001 - part of the key
    return read_model(path)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0  # reading it raises
    return status.st_size, status.st_mtime_ns


def predict(header: Header, options: LoadOptions, *, on_device: bool) -> Predicted:
    """Return the prediction for a header."""
    on_devices = offloaded(header.layers, options, on_device=on_device)
    reasons: list[str] = []
    placed: Placed | None = None
    if header.unknown_types:
        reasons.append(f"the weights have {', '.join(header.unknown_types)}, whose size is unknown here")
    elif on_devices and (options.n_cpu_moe or options.tensor_buft_overrides):
        reasons.append("load options move some weights off the devices")
    else:
        placed = weights(header, on_devices)
    kv: Placed | None = None
    recurrent: Placed | None = None
    try:
        layers = layers_of(header, options)
    except UnpredictedError as error:
        reasons.append(str(error))
    else:
        moved = on_devices if options.offload_kqv else range(0)
        kv = _placed([each.kv for each in layers], moved)
        recurrent = _placed([each.recurrent for each in layers], moved)
    smallest = block_bytes(header, on_devices) if placed is not None else 0
    return Predicted(placed, kv, recurrent, len(on_devices), smallest, tuple(reasons))


def _placed(layers: list[int], on_devices: range) -> Placed:
    there = sum(size for index, size in enumerate(layers) if index in on_devices)
    return Placed(sum(layers) - there, there)
