"""GGUF files, written byte by byte so that a test knows where everything stands in them."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def array(kind: int, items: list[bytes], claimed: int | None = None) -> bytes:
    count = len(items) if claimed is None else claimed
    return struct.pack("<IQ", kind, count) + b"".join(items)


@dataclass(frozen=True)
class Tensor:
    name: str | bytes
    shape: tuple[int, ...]
    kind: int = 0
    data: int = 0  # bytes of data that the writer adds for it
    offset: int | None = None


@dataclass(frozen=True)
class GGUF:
    """A file to be: by default, a valid small one.

    Tests get it as a fixture, with all that it takes to spoil it.
    """

    U8, I8, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 0, 1, 4, 5, 6, 7, 8, 9, 10
    tensor = Tensor

    keys: tuple[tuple[str | bytes, int, bytes], ...] = (
        ("general.architecture", STRING, text("tiny")),
        ("general.file_type", U32, u32(15)),
        ("general.quantized", BOOL, b"\1"),
        ("tiny.block_count", U32, u32(2)),
        ("tiny.context_length", U32, u32(128)),
        ("tiny.embedding_length", U32, u32(32)),
        ("tiny.attention.head_count", U32, u32(4)),
        ("tiny.attention.head_count_kv", ARRAY, array(I32, [u32(1), u32(2)])),
        ("tiny.rope.freq_base", F32, struct.pack("<f", 10000.0)),
        ("tokenizer.ggml.tokens", ARRAY, array(STRING, [text("a"), text(""), text("cde")])),
        ("tokenizer.ggml.scores", ARRAY, array(F32, [b"\0\0\0\0"] * 3)),
    )
    tensors: tuple[Tensor, ...] = (
        Tensor("norm", (8,), kind=0, data=32),
        Tensor("weights", (32, 3), kind=3, data=60),
    )
    version: bytes = u32(3)
    magic: bytes = b"GGUF"
    alignment: int = 32
    claimed_keys: int | None = None
    claimed_tensors: int | None = None
    at: dict[str, int] = field(default_factory=dict, compare=False)

    text = staticmethod(text)
    u32 = staticmethod(u32)
    array = staticmethod(array)

    def with_key(self, key: str | bytes, kind: int, value: bytes) -> GGUF:
        """Set one key: in its place, or behind the others."""
        keys = {k: (k, t, v) for k, t, v in self.keys}
        keys[key] = (key, kind, value)
        return replace(self, keys=tuple(keys.values()), at={})

    def without_key(self, *gone: str) -> GGUF:
        return replace(self, keys=tuple(k for k in self.keys if k[0] not in gone), at={})

    def but(self, **changes: object) -> GGUF:
        return replace(self, **{"at": {}, **changes})  # type: ignore[arg-type]

    def build(self) -> bytes:
        """Write the file, and note in ``at`` where its parts stand."""
        keys, tensors = self.claimed_keys, self.claimed_tensors
        out = bytearray(self.magic)
        self.at.clear()
        self._mark(out, "version")
        out += self.version
        self._mark(out, "tensors")
        out += struct.pack("<Q", len(self.tensors) if tensors is None else tensors)
        self._mark(out, "keys")
        out += struct.pack("<Q", len(self.keys) if keys is None else keys)
        for key, kind, value in self.keys:
            name = key if isinstance(key, str) else key.decode("latin-1")
            self._mark(out, f"{name} key")
            out += text(key)
            self._mark(out, f"{name} type")
            out += struct.pack("<I", kind)
            self._mark(out, f"{name} value")
            out += value
        self._mark(out, "metadata end")
        data = self._write_tensors(out)
        self._mark(out, "tensors end")
        if self.tensors:
            out += bytes(-len(out) % self.alignment)
            out += data
        return bytes(out)

    def _write_tensors(self, out: bytearray) -> bytes:
        data = bytearray()
        for tensor in self.tensors:
            name = tensor.name if isinstance(tensor.name, str) else tensor.name.decode("latin-1")
            data += bytes(-len(data) % self.alignment)
            offset = len(data) if tensor.offset is None else tensor.offset
            data += b"\x55" * tensor.data
            self._mark(out, f"{name} tensor")
            out += text(tensor.name)
            self._mark(out, f"{name} dimensions")
            out += u32(len(tensor.shape))
            self._mark(out, f"{name} shape")
            out += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
            self._mark(out, f"{name} kind")
            out += u32(tensor.kind)
            self._mark(out, f"{name} offset")
            out += struct.pack("<Q", offset)
        return bytes(data)

    def _mark(self, out: bytearray, name: str) -> None:
        self.at.setdefault(name, len(out))


@dataclass(frozen=True)
class SplitModel:
    """A split model, as ``llama-gguf-split`` writes it: all keys in the first part, ``split.*`` in each."""

    folder: Path
    whole: GGUF
    stem: str = "tiny"

    def parts(self, cut: int = 1) -> list[GGUF]:
        """Return two parts; the first has ``cut`` tensors."""
        tensors = self.whole.tensors
        first = self.whole.but(tensors=tensors[:cut])
        later = self.whole.but(keys=(), tensors=tensors[cut:])
        return [
            part.with_key("split.no", 2, struct.pack("<H", number))
            .with_key("split.count", 2, struct.pack("<H", 2))
            .with_key("split.tensors.count", GGUF.I32, struct.pack("<i", len(tensors)))
            for number, part in enumerate((first, later))
        ]

    def path(self, number: int, count: int = 2) -> Path:
        return self.folder / f"{self.stem}-{number:05}-of-{count:05}.gguf"

    def write(self, parts: list[GGUF] | None = None) -> Path:
        """Write the parts; return the path of the first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(parts or self.parts(), 1):
            self.path(number).write_bytes(part.build())
        return self.path(1)

    def change(self, number: int = 2) -> None:
        """Change the last byte of a part, which is weights."""
        content = self.path(number).read_bytes()
        self.path(number).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    def sha256(self) -> str:
        hashes = (hashlib.sha256(self.path(number).read_bytes()).hexdigest() for number in (1, 2))
        return hashlib.sha256("".join(f"{each}\n" for each in hashes).encode()).hexdigest()


@pytest.fixture
def split_model(tmp_path: Path, gguf: GGUF) -> SplitModel:
    """A split model below ``tmp_path``, not yet written."""
    return SplitModel(tmp_path / "split", gguf)


@pytest.fixture(scope="session")
def gguf() -> GGUF:
    return GGUF()


@pytest.fixture
def gguf_path(tmp_path: Path, gguf: GGUF) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf.build())
    return path
