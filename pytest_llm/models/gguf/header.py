"""Header of a GGUF file, read without trusting it.

Counts, lengths and shapes that do not fit the file have led to memory-safety bugs in llama.cpp
(CVE-2024-21802, CVE-2024-23605, CVE-2025-53630, CVE-2026-33298). This reader refuses such a file before a
loader sees it. The format: ``ggml/include/gguf.h``, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.models.gguf.cursor import Cursor
from pytest_llm.models.gguf.ggml_types import TENSOR_TYPES, file_type_name, type_name
from pytest_llm.models.gguf.metadata import MAX_LAYERS, Metadata, Scalar, shown
from pytest_llm.models.gguf.tensors import Tensor, read_tensors
from pytest_llm.models.opened import open_file
from pytest_llm.records import Weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ARCHITECTURE_LENGTH = 64
# What downloads leave in the place of a model, by the first four bytes.
_CONVERT = "convert the model with convert_hf_to_gguf.py of llama.cpp"
_OTHER_FILES = {
    b"pk\x03\x04": f"it is an archive, as PyTorch writes checkpoints; {_CONVERT}",
    b"vers": "it is a pointer of Git LFS; fetch the file itself with `git lfs pull`",
    b"<!do": "it is a web page; download the file itself",
    b"<htm": "it is a web page; download the file itself",
}


@dataclass(frozen=True)
class Header:
    """The header of a GGUF file, or of all parts of a split model; missing numbers are 0.

    Attributes:
        quantization: ``general.file_type`` by name ("Q4_K_M"), otherwise the type of most elements, or
            "unknown".
        heads: ``attention.head_count``, the largest if layers differ.
        kv_heads: ``attention.head_count_kv``, the largest if layers differ; by default, the heads.
        alignment: Of tensors, in bytes.
        metadata: Every value that is neither an array nor a very long string, by key.
        per_layer: The architecture's arrays of up to ``MAX_LAYERS`` integers or booleans, by key.
        parts: Files of a split model, all of which were read; none of a header that was read alone.
    """

    version: int
    architecture: str
    quantization: str
    parameters: int
    layers: int
    heads: int
    kv_heads: int
    embedding_length: int
    context_length: int
    vocabulary_size: int
    alignment: int
    tensors: int
    metadata: Mapping[str, Scalar] = field(repr=False, hash=False)
    weights: tuple[Weight, ...] = field(default=(), repr=False)
    per_layer: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False, hash=False)
    parts: tuple[Path, ...] = ()

    @property
    def unknown_types(self) -> tuple[str, ...]:
        """The types of tensors whose size is unknown here; a build may know them."""
        kinds = sorted({each.type for each in self.weights} - TENSOR_TYPES.keys())
        return tuple(type_name(each) for each in kinds)


def read_header(
    path: str | os.PathLike[str], descriptor: int | None = None, *, needs_architecture: bool = True
) -> Header:
    """Read the header of one GGUF file and check it against the file's length.

    Args:
        path: The file.
        descriptor: The file, if it is open already.
        needs_architecture: Refuse a file without one; later parts of a split model have none.

    Raises:
        ModelMissingError: If there is no such file.
        ModelHeaderError: If it cannot be read, is not GGUF, or is inconsistent; names the byte.
    """
    path = Path(path)
    return _read(_cursor(path, descriptor), needs_architecture=needs_architecture)


def header_bytes(path: Path, descriptor: int | None = None) -> bytes:
    """Return the header of one GGUF file as it is stored; raises as :func:`read_header`."""
    cursor = _cursor(path, descriptor)
    _read(cursor, needs_architecture=False)
    end = cursor.at
    cursor.at = 0
    return cursor.take(end, "the header")


def _cursor(path: Path, descriptor: int | None) -> Cursor:
    opened = open_file(path) if descriptor is None else descriptor
    return Cursor(opened, os.fstat(opened).st_size, path)


def _read(cursor: Cursor, *, needs_architecture: bool = True) -> Header:
    version = _read_version(cursor)
    tensors_at = cursor.at
    tensor_count = cursor.u64("the number of tensors")
    keys_at = cursor.at
    key_count = cursor.u64("the number of keys")
    metadata = Metadata(cursor, key_count, keys_at)
    architecture = _architecture(metadata, needed=needs_architecture)
    alignment = metadata.alignment()
    tensors = read_tensors(cursor, tensor_count, tensors_at, alignment)
    heads = metadata.largest(f"{architecture}.attention.head_count")
    return Header(
        version=version,
        architecture=architecture,
        quantization=_quantization(metadata, tensors),
        parameters=sum(tensor.elements for tensor in tensors),
        layers=_layers(metadata, f"{architecture}.block_count"),
        heads=heads,
        kv_heads=metadata.largest(f"{architecture}.attention.head_count_kv", default=heads),
        embedding_length=metadata.integer(f"{architecture}.embedding_length"),
        context_length=metadata.integer(f"{architecture}.context_length"),
        vocabulary_size=metadata.integer(f"{architecture}.vocab_size", default=metadata.check_tokens()),
        alignment=alignment,
        tensors=len(tensors),
        metadata=metadata.scalars(),
        weights=tuple(_weight(tensor) for tensor in tensors),
        per_layer=metadata.per_layer(f"{architecture}."),
    )


def _weight(tensor: Tensor) -> Weight:
    first, second, third, fourth = (*tensor.shape, 1, 1, 1, 1)[:4]
    return Weight(tensor.name, tensor.kind, (first, second, third, fourth))


def _read_version(cursor: Cursor) -> int:
    if not cursor.size:
        raise cursor.refusal("the file is empty")
    magic = cursor.take(min(len(MAGIC), cursor.size), "the first four bytes")
    if magic != MAGIC:
        reason = _OTHER_FILES.get(magic.lower()) or f"it starts with {magic!r}, not {MAGIC!r}"
        begin = magic + cursor.take(min(6, cursor.remaining), "the first ten bytes")
        if begin[8:] == b'{"':  # after the length of this JSON
            reason = f"it is of the safetensors format; {_CONVERT}"
        raise cursor.refusal(f"it is not a GGUF file: {reason}", 0)
    at = cursor.at
    number = cursor.take(4, "the version")
    version = int.from_bytes(number, "little")
    if version in VERSIONS:
        return version
    if int.from_bytes(number, "big") in (1, *VERSIONS):
        raise cursor.refusal("it is a big-endian file; only little-endian ones are read", at)
    if version == 1:
        raise cursor.refusal("it has version 1, which llama.cpp no longer reads; convert it", at)
    raise cursor.refusal(f"it has the unknown version {version}; 2 and 3 are known", at)


def _architecture(metadata: Metadata, *, needed: bool) -> str:
    key = "general.architecture"
    architecture = metadata.text(key)
    if architecture is None and not needed:
        return ""
    if architecture is None:
        raise metadata.refusal(key, f"it lacks the key {key!r}: it is not a model for llama.cpp")
    if not 0 < len(architecture) <= MAX_ARCHITECTURE_LENGTH or not architecture.isprintable():
        raise metadata.refusal(key, f"{shown(architecture)} is not the name of an architecture")
    return architecture


def _layers(metadata: Metadata, key: str) -> int:
    layers = metadata.integer(key)
    if layers > MAX_LAYERS:
        reason = f"it claims {layers} layers, at most {MAX_LAYERS} are allowed"
        raise metadata.refusal(key, reason)
    return layers


def _quantization(metadata: Metadata, tensors: Sequence[Tensor]) -> str:
    number = metadata.integer("general.file_type", default=-1)
    if number >= 0:
        return file_type_name(number)
    elements: Counter[str] = Counter()
    for tensor in tensors:
        elements[type_name(tensor.kind)] += tensor.elements
    return elements.most_common(1)[0][0] if elements else "unknown"
