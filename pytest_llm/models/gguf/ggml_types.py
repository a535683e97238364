"""Tensor types and file types of GGUF.

Block sizes from ``ggml-common.h``, numbers from ``enum ggml_type`` and ``enum llama_ftype``, as of llama.cpp
0c1e57098, without those that upstream has withdrawn.
"""

from __future__ import annotations

from typing import NamedTuple


class TensorType(NamedTuple):
    """A packing of elements: its name ("Q4_K"), elements per block and bytes per block.

    Rows are whole blocks.
    """

    name: str
    block: int
    block_bytes: int


TENSOR_TYPES = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    9: TensorType("Q8_1", 32, 36),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    15: TensorType("Q8_K", 256, 292),
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1),
    25: TensorType("I16", 1, 2),
    26: TensorType("I32", 1, 4),
    27: TensorType("I64", 1, 8),
    28: TensorType("F64", 1, 8),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
    34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66),
    39: TensorType("MXFP4", 32, 17),
    40: TensorType("NVFP4", 64, 36),
    41: TensorType("Q1_0", 128, 18),
    42: TensorType("Q2_0", 64, 18),
}

_NAMED = {kind.name: kind for kind in TENSOR_TYPES.values()}

_FILE_TYPES = {
    number: name
    for first, names in (
        (0, "F32 F16 Q4_0 Q4_1"),
        (7, "Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K"),
        (19, "IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16"),
        (36, "TQ1_0 TQ2_0 MXFP4_MOE NVFP4 Q1_0 Q2_0"),
    )
    for number, name in enumerate(names.split(), first)
}

_GUESSED = 1024  # LLAMA_FTYPE_GUESSED, a flag


def file_type_name(number: int) -> str:
    """Return the name of a ``general.file_type``: "Q4_K_M", or "file type 99" if it is unknown."""
    return _FILE_TYPES.get(number & ~_GUESSED, f"file type {number}")


def file_type_number(name: str) -> int:
    """Return the number of a ``general.file_type`` by its name; raise KeyError if it is unknown."""
    return {each: number for number, each in _FILE_TYPES.items()}[name]


def file_types() -> list[str]:
    """Return the names of all of them."""
    return [*_FILE_TYPES.values()]


def type_name(number: int) -> str:
    """Return the name of a tensor type: "Q4_K", or "type 137" if it is unknown."""
    return TENSOR_TYPES[number].name if number in TENSOR_TYPES else f"type {number}"


def type_called(name: str) -> TensorType:
    """Return a tensor type by its name in a load option ("q8_0"); raise KeyError if it is unknown."""
    return _NAMED[name.upper()]


def bytes_of(number: int, elements: int) -> int:
    """Return the bytes of some elements of a type of ``enum ggml_type``: ``ggml_row_size``.

    Raises:
        KeyError: The type is unknown.
    """
    kind = TENSOR_TYPES[number]
    return elements // kind.block * kind.block_bytes
