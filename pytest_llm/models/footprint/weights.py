"""Predicted bytes of weights on host and devices."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.models import bytes_of
from pytest_llm.models.footprint.architectures import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.models import Header
    from pytest_llm.records import LoadOptions, Weight

_LAYER = re.compile(r"(?:enc\.|dec\.)?blk\.(\d+)\.")
# LLM_TENSOR_LAYER_INPUT of llama-arch.cpp: always on the CPU (dev_input of llama_model_base::load_tensors).
_INPUT = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.")
_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"


class Placed(NamedTuple):
    """Bytes in the host's memory, and on all devices together."""

    host: int = 0
    device: int = 0

    def __add__(self, other: object) -> Placed:
        assert isinstance(other, Placed)
        return Placed(self.host + other.host, self.device + other.device)

    @property
    def total(self) -> int:
        return self.host + self.device


def offloaded(layers: int, options: LoadOptions, *, on_device: bool) -> range:
    """Return the layers on devices; index ``layers`` is the output.

    Source: ``i_gpu_start`` and ``act_gpu_layers`` of ``llama_model_base::load_tensors``. The output is
    offloaded first, then layers from the last to the first.
    """
    if not on_device:
        return range(layers + 1, layers + 1)
    asked = options.n_gpu_layers if options.n_gpu_layers >= 0 else layers + 1
    return range(max(layers + 1 - asked, 0), layers + 1)


def weights(header: Header, on_devices: range) -> Placed:
    """Return the bytes of all weights.

    Without ``output.weight``, the token embeddings on the host are the output as well, and a device with the
    output gets a copy (``TENSOR_DUPLICATED`` of ``llama_model_loader``). Embedding models have no output, so
    the copy is predicted for known architectures only.
    """
    placed = Placed()
    for weight in header.weights:
        size = bytes_of_weight(weight)
        placed += Placed(0, size) if _layer_of(weight.name, header.layers) in on_devices else Placed(size, 0)
    return placed + Placed(0, sum(map(bytes_of_weight, _copied(header, on_devices))))


def block_bytes(header: Header, on_devices: range) -> int:
    """Return the bytes of the smallest layer on a device; 0 without one."""
    sizes: dict[int, int] = {}
    for weight in header.weights:
        match = _LAYER.match(weight.name)
        if match and int(match[1]) in on_devices:
            sizes[int(match[1])] = sizes.get(int(match[1]), 0) + bytes_of_weight(weight)
    return min(sizes.values(), default=0)


def bytes_of_weight(weight: Weight) -> int:
    """Return the bytes of a contiguous tensor: ``ggml_nbytes``."""
    return bytes_of(weight.type, math.prod(weight.shape))


def _copied(header: Header, on_devices: range) -> Iterator[Weight]:
    if header.architecture not in KNOWN:
        return
    if header.layers in on_devices and not any(each.name == _OUTPUT for each in header.weights):
        yield from (each for each in header.weights if each.name == _EMBEDDINGS)


def _layer_of(name: str, layers: int) -> int:
    """Return a tensor's layer: -1 for the input, ``layers`` for the output."""
    match = _LAYER.match(name)
    if match:
        return int(match[1])
    return -1 if name.startswith(_INPUT) else layers
