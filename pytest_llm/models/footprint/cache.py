"""Predicted KV cache and recurrent state of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.models import type_called
from pytest_llm.models.footprint.architectures import BOTH, HYBRID, KNOWN, PLAIN, RWKV, SLIDING, STATE_SPACE

if TYPE_CHECKING:
    from pytest_llm.models import Header
    from pytest_llm.records import LoadOptions

_STEP = 256  # GGML_PAD of llama_context and llama_kv_cache_iswa
_F32 = 4  # bytes; the states of llama_memory_recurrent
_TOKEN_SHIFTS = 2  # default of hparams.token_shift_count


class UnpredictedError(Exception):
    """A cache cannot be predicted; the message is the reason."""


class Layer(NamedTuple):
    """Bytes of a layer's KV cache and recurrent state."""

    kv: int = 0
    recurrent: int = 0


def layers_of(header: Header, options: LoadOptions) -> list[Layer]:
    """Return the bytes of each layer; raise UnpredictedError if the architecture is not covered."""
    shape = _Shape(header)
    kv = _kv(shape, options)
    recurrent = _recurrent(shape) * max(1, options.n_seq_max)
    return [Layer(each, recurrent if shape.is_recurrent(index) else 0) for index, each in enumerate(kv)]


def row_bytes(cache_type: str, elements: int) -> int:
    """Return ``ggml_row_size``; raise UnpredictedError if rows are not whole blocks."""
    kind = type_called(cache_type)
    if elements % kind.block:
        raise UnpredictedError(f"rows of {elements} elements are not whole blocks of {cache_type}")
    return elements // kind.block * kind.block_bytes


def cells(options: LoadOptions) -> tuple[int, int]:
    """Return the tokens of a stream of the cache, and the number of streams.

    Source: n_ctx and n_ctx_seq of ``llama_context::llama_context``, ``n_stream`` of ``llama_kv_cache``.
    """
    n_ctx = _padded(options.n_ctx)
    if options.kv_unified:
        return n_ctx, 1
    return _padded(n_ctx // options.n_seq_max), options.n_seq_max


class _Shape:
    """The numbers of a header that determine its caches; see ``llama_model_base::load_hparams``."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.name = header.architecture
        self.layers = header.layers
        if self.name not in KNOWN:
            raise UnpredictedError(f"the cache of the architecture {self.name} is not predicted")
        for key, what in (
            ("attention.key_length_mla", "latent attention"),
            ("attention.kv_lora_rank", "latent attention"),
            ("nextn_predict_layers", "layers that predict further tokens"),
        ):
            if self.number(key):
                raise UnpredictedError(f"the cache of {self.name} with {what} is not predicted")

    def number(self, key: str, default: int = 0) -> int:
        value = self._header.metadata.get(f"{self.name}.{key}", default)
        return int(value) if isinstance(value, int) else default

    def required(self, key: str) -> int:
        value = self.number(key)
        if not value:
            raise UnpredictedError(f"the header has no {self.name}.{key}")
        return value

    def of_layers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return a number per layer; the header has one for all, or one for each."""
        many = self._header.per_layer.get(f"{self.name}.{key}")
        if many is not None:
            if len(many) < self.layers:
                raise UnpredictedError(f"{self.name}.{key} has {len(many)} values for {self.layers} layers")
            return many[: self.layers]
        one = self._header.metadata.get(f"{self.name}.{key}")
        return (int(one),) * self.layers if isinstance(one, int) else default

    def kv_heads(self) -> tuple[int, ...]:
        heads = self.of_layers("attention.head_count", (0,) * self.layers)
        return self.of_layers("attention.head_count_kv", heads)

    def slides(self) -> tuple[tuple[bool, ...], int]:
        """Return which layers have a sliding window, and its tokens: ``load_swa_pattern``."""
        nowhere = (False,) * self.layers, 0
        if self.name not in SLIDING:
            return nowhere
        known = SLIDING[self.name]
        window = self.number("attention.sliding_window", known.window)
        if not window:
            if self.name == "gemma3":  # its older files do not slide
                return nowhere
            raise UnpredictedError(f"the header has no {self.name}.attention.sliding_window")
        key = f"{self.name}.attention.sliding_window_pattern"
        if key in self._header.per_layer:
            return tuple(map(bool, self.of_layers("attention.sliding_window_pattern", ()))), window
        pattern = self.number("attention.sliding_window_pattern", known.pattern)
        # hparams.set_swa_pattern
        slides = (not pattern or index % pattern < pattern - 1 for index in range(self.layers))
        return tuple(slides), window

    def head_lengths(self, *, sliding: bool) -> tuple[int, int]:
        """Return the elements of a head of K, and of V."""
        heads = self.of_layers("attention.head_count", (0,) * self.layers)
        each = self._header.embedding_length // heads[0] if heads and heads[0] else 0
        suffix = "_swa" if sliding else ""
        lengths = []
        for kind in ("key", "value"):
            full = self.number(f"attention.{kind}_length", each)
            lengths.append(self.number(f"attention.{kind}_length{suffix}", full))
        return lengths[0], lengths[1]

    def is_recurrent(self, layer: int) -> bool:
        if self.name in HYBRID:
            return self.kv_heads()[layer] == 0
        return self.name in {*STATE_SPACE, *RWKV, *BOTH}

    def has_kv(self, layer: int) -> bool:
        return self.name in BOTH or not self.is_recurrent(layer)


def _kv(shape: _Shape, options: LoadOptions) -> list[int]:
    """Return the bytes of K and V of each layer: ``llama_kv_cache``, ``llama_kv_cache_iswa``."""
    heads = shape.kv_heads()
    slides, window = shape.slides()
    size, streams = cells(options)
    lengths = {each: shape.head_lengths(sliding=each) for each in (False, True)}
    k = [lengths[slides[index]][0] * heads[index] for index in range(shape.layers)]
    v = [lengths[slides[index]][1] * heads[index] for index in range(shape.layers)]
    if options.flash_attn == "off" and v:  # TAG_V_CACHE_VARIABLE: a transposed V is as wide in every layer
        v = [max(v)] * shape.layers
    found = []
    for index in range(shape.layers):
        if not shape.has_kv(index):
            found.append(0)
            continue
        held = _window_cells(size, window, options) if slides[index] else size
        row = row_bytes(options.type_k, k[index]) + row_bytes(options.type_v, v[index])
        found.append(row * held * streams)
    return found


def _window_cells(size: int, window: int, options: LoadOptions) -> int:
    """Return the tokens in the cache of a sliding-window layer: ``llama_kv_cache_iswa``."""
    if options.swa_full:
        return size
    sequences = options.n_seq_max if options.kv_unified else 1
    return _padded(min(size, window * sequences + min(options.n_ubatch, options.n_batch)))


def _recurrent(shape: _Shape) -> int:
    """Return the bytes of a layer's recurrent state, per sequence: ``n_embd_r`` and ``n_embd_s``."""
    if shape.name in PLAIN or shape.name in SLIDING:
        return 0
    if shape.name in RWKV:
        width = shape.required("embedding_length")
        shifts = shape.number("token_shift_count", _TOKEN_SHIFTS)
        return _F32 * (shifts * width + width * shape.required("wkv.head_size"))
    kernel, inner = shape.required("ssm.conv_kernel"), shape.required("ssm.inner_size")
    state = shape.required("ssm.state_size")
    convolution = (kernel - 1) * (inner + 2 * shape.number("ssm.group_count") * state)
    return _F32 * (convolution + state * inner)


def _padded(tokens: int) -> int:
    return -(-tokens // _STEP) * _STEP
