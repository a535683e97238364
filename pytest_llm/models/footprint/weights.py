"""Where each tensor of a file goes, and how many bytes that makes."""

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
# LLM_TENSOR_LAYER_INPUT in llama-arch.cpp: always on the CPU (llama_model_base::load_tensors, dev_input).
_INPUT = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.")
_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"


class Placed(NamedTuple):
    """Bytes of one kind: in the host's memory, and on devices, all of them together."""

    host: int = 0
    device: int = 0

    def __add__(self, other: object) -> Placed:
        """Return both together."""
        assert isinstance(other, Placed)
        return Placed(self.host + other.host, self.device + other.device)

    @property
    def total(self) -> int:
        """Bytes wherever they are."""
        return self.host + self.device


def offloaded(layers: int, options: LoadOptions, *, on_device: bool) -> range:
    """Return which layers go to devices; the one after the last stands for the output.

    Follows ``i_gpu_start`` and ``act_gpu_layers`` of ``llama_model_base::load_tensors``: layers go from the
    last to the first, and the output, which counts as one, before them all.
    """
    if not on_device:
        return range(layers + 1, layers + 1)
    asked = options.n_gpu_layers if options.n_gpu_layers >= 0 else layers + 1
    return range(max(layers + 1 - asked, 0), layers + 1)


def weights(header: Header, on_devices: range) -> Placed:
    """Return the bytes of all weights.

    A model without ``output.weight`` uses its token embeddings as such. They are read on the host by row, so
    that a device that has the output gets a copy (``TENSOR_DUPLICATED`` of ``llama_model_loader``). Models of
    embeddings have no output at all, so a copy is predicted for known architectures alone.
    """
    placed = Placed()
    for weight in header.weights:
        size = bytes_of_weight(weight)
        placed += Placed(0, size) if _layer_of(weight.name, header.layers) in on_devices else Placed(size, 0)
    return placed + Placed(0, sum(map(bytes_of_weight, _copied(header, on_devices))))


def block_bytes(header: Header, on_devices: range) -> int:
    """Return the bytes of the smallest layer that goes to a device, 0 where none does."""
    sizes: dict[int, int] = {}
    for weight in header.weights:
        match = _LAYER.match(weight.name)
        if match and int(match[1]) in on_devices:
            sizes[int(match[1])] = sizes.get(int(match[1]), 0) + bytes_of_weight(weight)
    return min(sizes.values(), default=0)


def bytes_of_weight(weight: Weight) -> int:
    """Return the bytes of a tensor: ``ggml_nbytes`` of one that is contiguous."""
    return bytes_of(weight.type, math.prod(weight.shape))


def _copied(header: Header, on_devices: range) -> Iterator[Weight]:
    if header.architecture not in KNOWN:
        return
    if header.layers in on_devices and not any(each.name == _OUTPUT for each in header.weights):
        yield from (each for each in header.weights if each.name == _EMBEDDINGS)


def _layer_of(name: str, layers: int) -> int:
    """Return the layer that a tensor belongs to: -1 for the input, one past the last for the output."""
    match = _LAYER.match(name)
    if match:
        return int(match[1])
    return -1 if name.startswith(_INPUT) else layers
