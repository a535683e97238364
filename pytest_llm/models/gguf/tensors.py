"""List of tensors of a GGUF file, checked against the file's length."""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.models.gguf.ggml_types import TENSOR_TYPES
from pytest_llm.models.gguf.metadata import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.models.gguf.cursor import Cursor

MAX_TENSORS = 2**16  # published files have a few thousand
# GGML_MAX_NAME without the final zero, GGML_MAX_DIMS, and the largest int64_t.
MAX_NAME_BYTES = 63
MAX_DIMENSIONS = 4
MAX_ELEMENTS = 2**63 - 1

# No operation of ggml takes weights of these types: it calls a null pointer. Tables of numbers, such as
# ffn_gate_tid2eid, may be integers, and so may what llama.cpp does not use.
_NO_WEIGHTS = frozenset({"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K"})
_WEIGHT = re.compile(
    r"(?:.*\.)?(?:token_embd|position_embd|token_types|output|cls|(?:cross_)?attn_\w+|ssm_\w+"
    r"|ffn_(?!gate_tid2eid)\w+|(?:time|channel)_mix_\w+|\w*norm)\.(?:weight|bias)(?:\.lora_[ab])?"
)

_SMALLEST_TENSOR = 8 + 4 + 4 + 8  # bytes: the name's length, number of dimensions, type, offset
_TAILS = [struct.Struct(f"<{dimensions}QIQ") for dimensions in range(MAX_DIMENSIONS + 1)]


class Tensor(NamedTuple):
    """One entry of the list.

    Attributes:
        kind: The number of its type in ``enum ggml_type``; newer builds and forks have numbers of their own.
        shape: Row length first.
        begin: Its first byte, counted from the start of the data.
        at: The position of the entry in the file.
    """

    name: str
    kind: int
    elements: int
    shape: tuple[int, ...]
    begin: int
    at: int

    @property
    def end(self) -> int:
        """The byte after the last one, counted from the start of the data; ``begin`` for an unknown type."""
        packing = TENSOR_TYPES.get(self.kind)
        return self.begin + (self.elements // packing.block * packing.block_bytes if packing else 0)


def read_tensors(cursor: Cursor, count: int, at: int, alignment: int) -> list[Tensor]:
    """Read the list and check that its data lies in the file; ``at`` is where the file claims ``count``."""
    if count > MAX_TENSORS:
        raise cursor.refusal(f"it claims {count} tensors, at most {MAX_TENSORS} are allowed", at)
    cursor.check_claim("tensors", count, _SMALLEST_TENSOR, at)
    tensors: dict[str, Tensor] = {}
    for _ in range(count):
        tensor = _read_tensor(cursor, alignment)
        if tensor.name in tensors:
            raise cursor.refusal(f"the tensor {shown(tensor.name)} comes twice", tensor.at)
        tensors[tensor.name] = tensor
    found = list(tensors.values())
    _check_data(cursor, found, alignment)
    return found


def _read_tensor(cursor: Cursor, alignment: int) -> Tensor:
    at = cursor.at
    name = cursor.text("a tensor's name", MAX_NAME_BYTES)
    dimensions_at = cursor.at
    dimensions = cursor.u32("a tensor's number of dimensions")
    if dimensions > MAX_DIMENSIONS:
        reason = f"the tensor {shown(name)} has {dimensions} dimensions, at most {MAX_DIMENSIONS}"
        raise cursor.refusal(f"{reason} are allowed", dimensions_at)
    shape_at = cursor.at
    tail = cursor.unpack(_TAILS[dimensions], "a tensor's shape, type and offset")
    *shape, kind, begin = (int(number) for number in tail)
    type_at = shape_at + 8 * dimensions
    # Strides are products of some dimensions, so an empty one must not hide the others.
    if math.prod(max(length, 1) for length in shape) > MAX_ELEMENTS:
        reason = f"the tensor {shown(name)} has a shape that overflows: {shape}"
        raise cursor.refusal(reason, shape_at)
    tensor_type = TENSOR_TYPES.get(kind)
    row = shape[0] if shape else 1
    if tensor_type is not None and row % tensor_type.block:
        reason = f"the tensor {shown(name)} has rows of {row} elements, not whole blocks of"
        raise cursor.refusal(f"{reason} {tensor_type.block} ({tensor_type.name})", shape_at)
    if tensor_type is not None and tensor_type.name in _NO_WEIGHTS and _WEIGHT.fullmatch(name):
        reason = (
            f"the tensor {shown(name)} has the type {tensor_type.name}, with which llama.cpp cannot compute"
        )
        raise cursor.refusal(f"{reason}: convert the model again", type_at)
    if begin % alignment:
        reason = f"the tensor {shown(name)} has the offset {begin}, no multiple of {alignment}"
        raise cursor.refusal(reason, type_at + 4)
    return Tensor(name, kind, math.prod(shape), tuple(shape), begin, at)


def _check_data(cursor: Cursor, tensors: Sequence[Tensor], alignment: int) -> None:
    start = (cursor.at + alignment - 1) // alignment * alignment
    for tensor in tensors:
        if start + tensor.end > cursor.size:
            reason = f"the tensor {shown(tensor.name)} should end at byte {start + tensor.end}"
            raise cursor.refusal(f"{reason}, the file has {cursor.size}", tensor.at)
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin < end and tensor.elements:
            raise cursor.refusal(f"the tensor {shown(tensor.name)} overlaps another", tensor.at)
        end = max(end, tensor.end)
