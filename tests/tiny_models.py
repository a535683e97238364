"""Tiny models with random weights that llama.cpp really loads, one of each kind."""

from __future__ import annotations

import random
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.gguf_files import GGUF, array, text, u32

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_WIDTH, _INNER, _HEADS, _LAYERS, _ROOM = 64, 128, 2, 2, 512
_RANDOM = random.Random(7)

Key = tuple[str, int, bytes]


class _Weight(NamedTuple):
    name: str
    shape: tuple[int, ...]
    values: tuple[float, ...]


def llama(
    path: Path,
    *,
    vocabulary: bool = True,
    nan: bool = False,
    kind: str = "llama",
    unknown_type: int | None = None,
    split: bool = False,
) -> Path:
    """Write a model that generates.

    Args:
        path: The file.
        vocabulary: Give it a tokenizer; without one, it has token ids alone.
        nan: Make its last norm NaN, and so every logit.
        kind: The architecture.
        unknown_type: Pretend that the output is of this type.
        split: Write two parts as ``llama-gguf-split`` does, and return the path of the first.
    """
    tokens, count = _spm() if vocabulary else ([_string("tokenizer.ggml.model", "none")], 320)
    keys = [*_shape(kind), _float(f"{kind}.attention.layer_norm_rms_epsilon", 1e-5), *tokens]
    keys += [_number(f"{kind}.rope.dimension_count", _WIDTH // _HEADS)]
    keys += [] if vocabulary else [_number(f"{kind}.vocab_size", count)]
    norm = _ones("output_norm.weight", _WIDTH)
    weights = [
        _drawn("token_embd.weight", _WIDTH, count),
        norm._replace(values=(float("nan"),) * _WIDTH) if nan else norm,
        _drawn("output.weight", _WIDTH, count),
    ]
    for layer in range(_LAYERS):
        block = f"blk.{layer}."
        weights += [_ones(f"{block}{each}.weight", _WIDTH) for each in ("attn_norm", "ffn_norm")]
        weights += [_square(f"{block}attn_{each}.weight") for each in ("q", "k", "v", "output")]
        weights += _feed_forward(block)
    if split:
        return _write_parts(path, keys, weights)
    return _write(path, keys, weights, {"output.weight": unknown_type} if unknown_type else {})


def bert(path: Path, *, pooling: int = 1, nan: bool = False) -> Path:
    """Write an encoder; its pooling is 1 for the mean, 4 for the rank of a reranker."""
    tokens, count = _wordpieces()
    keys = [*_shape("bert"), _float("bert.attention.layer_norm_epsilon", 1e-12), *tokens]
    keys += [_flag("bert.attention.causal", False), _number("bert.pooling_type", pooling)]
    weights = [
        _drawn("token_embd.weight", _WIDTH, count),
        _drawn("token_types.weight", _WIDTH, 2),
        _drawn("position_embd.weight", _WIDTH, _ROOM),
        *_norm("token_embd_norm"),
    ]
    if pooling == 4:
        weights += [*_linear("cls"), _drawn("cls.output.weight", _WIDTH, 1), _drawn("cls.output.bias", 1)]
    for layer in range(_LAYERS):
        block = f"blk.{layer}."
        weights += [each for name in "qkv" for each in _linear(f"{block}attn_{name}")]
        weights += [*_linear(f"{block}attn_output"), *_norm(f"{block}attn_output_norm")]
        weights += [*_linear(f"{block}ffn_up", _WIDTH, _INNER), *_linear(f"{block}ffn_down", _INNER, _WIDTH)]
        last = _norm(f"{block}layer_output_norm")
        weights += [each._replace(values=(float("nan"),) * _WIDTH) for each in last] if nan else last
    return _write(path, keys, weights)


def t5(path: Path, *, decoder: bool = True) -> Path:
    """Write an encoder-decoder, or the encoder of one."""
    kind, buckets = "t5" if decoder else "t5encoder", 32
    tokens, count = _spm()
    keys = [*_shape(kind), _number(f"{kind}.attention.relative_buckets_count", buckets), *tokens]
    keys += [_float(f"{kind}.attention.{each}_epsilon", 1e-6) for each in ("layer_norm", "layer_norm_rms")]
    keys += [_number(f"{kind}.attention.{each}_length", _WIDTH // _HEADS) for each in ("key", "value")]
    keys += [_number(f"{kind}.decoder_start_token_id", 0)] if decoder else []
    sides = ("enc", "dec") if decoder else ("enc",)
    weights = [_drawn("token_embd.weight", _WIDTH, count)]
    weights += [_ones(f"{side}.output_norm.weight", _WIDTH) for side in sides]
    weights += [_drawn("output.weight", _WIDTH, count)] if decoder else []
    for side in sides:
        for layer in range(_LAYERS):
            block = f"{side}.blk.{layer}."
            weights += [_ones(f"{block}{each}.weight", _WIDTH) for each in ("attn_norm", "ffn_norm")]
            weights += [_drawn(f"{block}attn_rel_b.weight", _HEADS, buckets)] if not layer else []
            attentions = ("attn", "cross_attn") if side == "dec" else ("attn",)
            weights += [_square(f"{block}{a}_{each}.weight") for a in attentions for each in "qkvo"]
            weights += [_ones(f"{block}cross_attn_norm.weight", _WIDTH)] if side == "dec" else []
            weights += _feed_forward(block)
    return _write(path, keys, weights)


def lora(path: Path, *, alpha: float = 16.0, kind: str = "llama") -> Path:
    """Write an adapter for :func:`llama`."""
    keys = [_string("general.architecture", kind), _string("general.type", "adapter")]
    keys += [_string("adapter.type", "lora"), _float("adapter.lora.alpha", alpha)]
    first = _drawn("blk.0.attn_q.weight.lora_a", _WIDTH, 8)
    return _write(path, keys, [first, _drawn("blk.0.attn_q.weight.lora_b", 8, _WIDTH)])


def projector(path: Path) -> Path:
    """Write a projector of images."""
    keys = [_string("general.architecture", "clip"), _string("general.type", "mmproj")]
    keys += [_flag("clip.has_vision_encoder", True)]
    return _write(path, keys, [_drawn("v.patch_embd.weight", 14, 14, 3, 8), _square("mm.0.weight")])


def _spm() -> tuple[list[Key], int]:
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *map(chr, range(97, 123)),
    ]
    kinds = [2, 3, 3, *[6] * 256, *[1] * 27]
    scores = [0.0] * 3 + [-1000.0] * 256 + [-1.0 - each for each in range(27)]
    keys = _tokenizer("llama", tokens, kinds, scores)
    ids = {"bos": 1, "eos": 2}
    return [*keys, *(_number(f"tokenizer.ggml.{name}_token_id", each) for name, each in ids.items())], len(
        tokens
    )


def _wordpieces() -> tuple[list[Key], int]:
    letters = [chr(each) for each in range(97, 123)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{each}" for each in letters), *letters]
    keys = _tokenizer("bert", tokens, [3] * 5 + [1] * 52, [-1000.0] * len(tokens))
    ids = {"padding": 0, "unknown": 1, "bos": 2, "cls": 2, "eos": 3, "seperator": 3, "mask": 4}
    keys += [_number(f"tokenizer.ggml.{name}_token_id", each) for name, each in ids.items()]
    return [*keys, _number("tokenizer.ggml.token_type_count", 2)], len(tokens)


def _tokenizer(kind: str, tokens: list[str], kinds: list[int], scores: list[float]) -> list[Key]:
    listed: dict[str, bytes] = {
        "tokens": array(GGUF.STRING, [text(each) for each in tokens]),
        "scores": array(GGUF.F32, [struct.pack("<f", each) for each in scores]),
        "token_type": array(GGUF.I32, [u32(each) for each in kinds]),
    }
    found = [(f"tokenizer.ggml.{name}", GGUF.ARRAY, value) for name, value in listed.items()]
    return [_string("tokenizer.ggml.model", kind), *found]


def _shape(kind: str) -> list[Key]:
    numbers = {
        "block_count": _LAYERS,
        "context_length": _ROOM,
        "embedding_length": _WIDTH,
        "feed_forward_length": _INNER,
        "attention.head_count": _HEADS,
    }
    own = [_number(f"{kind}.{name}", value) for name, value in numbers.items()]
    return [_string("general.architecture", kind), _number("general.file_type", 0), *own]


def _string(key: str, value: str) -> Key:
    return key, GGUF.STRING, text(value)


def _number(key: str, value: int) -> Key:
    return key, GGUF.U32, u32(value)


def _float(key: str, value: float) -> Key:
    return key, GGUF.F32, struct.pack("<f", value)


def _flag(key: str, value: bool) -> Key:
    return key, GGUF.BOOL, bytes([value])


def _drawn(name: str, *shape: int) -> _Weight:
    count = 1
    for length in shape:
        count *= length
    return _Weight(name, shape, tuple(_RANDOM.gauss(0, 0.2) for _ in range(count)))


def _square(name: str) -> _Weight:
    return _drawn(name, _WIDTH, _WIDTH)


def _ones(name: str, length: int) -> _Weight:
    return _Weight(name, (length,), (1.0,) * length)


def _linear(name: str, inner: int = _WIDTH, outer: int = _WIDTH) -> list[_Weight]:
    return [_drawn(f"{name}.weight", inner, outer), _drawn(f"{name}.bias", outer)]


def _norm(name: str) -> list[_Weight]:
    return [_ones(f"{name}.weight", _WIDTH), _drawn(f"{name}.bias", _WIDTH)]


def _feed_forward(block: str) -> list[_Weight]:
    inner = {"ffn_gate": (_WIDTH, _INNER), "ffn_up": (_WIDTH, _INNER), "ffn_down": (_INNER, _WIDTH)}
    return [_drawn(f"{block}{name}.weight", *shape) for name, shape in inner.items()]


def _write_parts(path: Path, keys: list[Key], weights: list[_Weight]) -> Path:
    paths = [path.with_name(f"{path.stem}-{number:05}-of-00002.gguf") for number in (1, 2)]
    for number, (each, own, some) in enumerate(
        zip(paths, (keys, []), (weights[:3], weights[3:]), strict=True)
    ):
        counts = {"no": (2, struct.pack("<H", number)), "count": (2, struct.pack("<H", 2))}
        counts["tensors.count"] = (GGUF.I32, struct.pack("<i", len(weights)))
        _write(each, [*own, *((f"split.{name}", *value) for name, value in counts.items())], some)
    return paths[0]


def _write(
    path: Path, keys: Iterable[Any], weights: list[_Weight], types: Mapping[str, int] = MappingProxyType({})
) -> Path:
    tensors = tuple(
        GGUF.tensor(each.name, each.shape, types.get(each.name, 0), 4 * len(each.values)) for each in weights
    )
    filled = bytearray(GGUF(keys=tuple(keys), tensors=tensors).build())
    at = len(filled) - sum(-(-each.data // 32) * 32 for each in tensors[:-1]) - tensors[-1].data
    for tensor, weight in zip(tensors, weights, strict=True):
        struct.pack_into(f"<{len(weight.values)}f", filled, at, *weight.values)
        at += -(-tensor.data // 32) * 32
    path.write_bytes(filled)
    return path
