"""The functions and structs, under their real names and with as many arguments."""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

# A folder whose "library" says how fast it is.
_LIBRARY = Path(os.environ.get("LLAMA_CPP_LIB_PATH", "/nowhere"))
_SAID = _LIBRARY / "token_seconds"
_TOKEN_SECONDS = float(
    _SAID.read_text() if _SAID.exists() else os.environ.get("LLAMA_STAND_IN_TOKEN_SECONDS") or 1 / 128
)
_JITTER = float(os.environ.get("LLAMA_STAND_IN_JITTER") or 0)
_FLASH_GAIN = float(os.environ.get("LLAMA_STAND_IN_FLASH_GAIN") or 0)
_FIRST_LETTER = os.environ.get("LLAMA_STAND_IN_FIRST_LETTER") or "a"
_ROUNDING = int(os.environ.get("LLAMA_STAND_IN_ROUNDING") or 0)
_LOGIT_ERROR = float(os.environ.get("LLAMA_STAND_IN_LOGIT_ERROR") or 0)
_LEAD = float(os.environ.get("LLAMA_STAND_IN_LEAD") or 8)
_NAN_AT = int(os.environ.get("LLAMA_STAND_IN_NAN_AT") or -1)
_NAN_IN = os.environ.get("LLAMA_STAND_IN_NAN_IN") or ""
_TOKEN_SHIFT = int(os.environ.get("LLAMA_STAND_IN_TOKEN_SHIFT") or 0)
_ASKER = os.environ.get("LLAMA_STAND_IN_ASKER") or "user"
_LOAD_SECONDS = float(os.environ.get("LLAMA_STAND_IN_LOAD_SECONDS") or 0.25)
_DECODE_SLEEP = float(os.environ.get("LLAMA_STAND_IN_DECODE_SLEEP") or 0)
_FLASH_ATTENTION = os.environ.get("LLAMA_STAND_IN_FLASH_ATTENTION")
_LOG = os.environ.get("LLAMA_STAND_IN_LOG") or ""
_SHOUT = os.environ.get("LLAMA_STAND_IN_SHOUT") or ""
_TOKEN = os.environ.get("LLAMA_STAND_IN_BOS") or ""
_FEATURES = os.environ.get("LLAMA_STAND_IN_FEATURES") or "PRETENDED"
_TEMPLATE = os.environ.get("LLAMA_STAND_IN_TEMPLATE") or "stand-in"
_GPU = os.environ.get("LLAMA_STAND_IN_GPU") == "yes"
_DEVICE_MIB = int(os.environ.get("LLAMA_STAND_IN_DEVICE_MIB") or 0)
_MAPS = os.environ.get("LLAMA_STAND_IN_MAPS") != "no"
_LOCKS = os.environ.get("LLAMA_STAND_IN_LOCKS") == "yes"
_COMMIT = os.environ.get("LLAMA_STAND_IN_COMMIT") or "57a9d1234"
_REUSES = os.environ.get("LLAMA_STAND_IN_REUSES") != "no"
_TELLS_CELLS = os.environ.get("LLAMA_STAND_IN_SEQUENCES") == "cells"
_FAULT_WHERE, _, _FAULT_WHAT = os.environ.get("LLAMA_STAND_IN_FAULT", "").partition("=")
_KIND = os.environ.get("LLAMA_STAND_IN_KIND") or ""
_DIARY = os.environ.get("LLAMA_STAND_IN_DIARY")

Struct = TypeVar("Struct", bound=ctypes.Structure)
# Every byte is a token; one more ends an answer.
_END = 256


def _fault(where: str) -> str:
    """Die or hang if this is the place for it, else return how to fail there, "" for not at all."""
    if where != _FAULT_WHERE:
        return ""
    print(f"{_SHOUT}stand-in: something is wrong at {where}", file=sys.stderr, flush=True)
    if _FAULT_WHAT == "hang":
        time.sleep(3600)
    if _FAULT_WHAT.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[_FAULT_WHAT])
    return _FAULT_WHAT


def _write_diary() -> None:
    if _DIARY:
        entry = {"pid": os.getpid(), "environment": dict(os.environ)}
        with Path(_DIARY).open("a", encoding="utf-8") as diary:
            diary.write(json.dumps(entry) + "\n")


_write_diary()
if _fault("import"):
    raise ImportError("libllama.so: cannot open shared object file")

if os.environ.get("LLAMA_STAND_IN_POWERS"):
    importlib.import_module("powers").try_out(json.loads(os.environ["LLAMA_STAND_IN_POWERS"]))

_clock: Any = importlib.import_module("virtual_clock")  # beside this package, where it runs


class llama_model_params(ctypes.Structure):  # noqa: N801
    _fields_ = (
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int),
        ("load_mode", ctypes.c_int),
        ("main_gpu", ctypes.c_int32),
        ("check_tensors", ctypes.c_bool),
        ("use_extra_bufts", ctypes.c_bool),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("tensor_split", ctypes.POINTER(ctypes.c_float)),
    )


class llama_context_params(ctypes.Structure):  # noqa: N801
    _fields_ = (
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("n_outputs_max_per_seq", ctypes.c_uint32),
        ("n_threads", ctypes.c_int32),
        ("n_threads_batch", ctypes.c_int32),
        ("flash_attn_type", ctypes.c_int),
        ("rope_freq_base", ctypes.c_float),
        ("rope_freq_scale", ctypes.c_float),
        ("type_k", ctypes.c_int),
        ("type_v", ctypes.c_int),
        ("offload_kqv", ctypes.c_bool),
        ("no_perf", ctypes.c_bool),
        ("op_offload", ctypes.c_bool),
        ("swa_full", ctypes.c_bool),
        ("kv_unified", ctypes.c_bool),
    )


class llama_model_quantize_params(ctypes.Structure):  # noqa: N801
    _fields_ = (
        ("nthread", ctypes.c_int32),
        ("ftype", ctypes.c_int),
        ("allow_requantize", ctypes.c_bool),
    )


class llama_batch(ctypes.Structure):  # noqa: N801
    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


class llama_sampler_chain_params(ctypes.Structure):  # noqa: N801
    _fields_ = (("no_perf", ctypes.c_bool),)


class llama_chat_message(ctypes.Structure):  # noqa: N801
    _fields_ = (("role", ctypes.c_char_p), ("content", ctypes.c_char_p))


class llama_perf_context_data(ctypes.Structure):  # noqa: N801
    _fields_ = (("n_reused", ctypes.c_int32),)


class _Model(str):
    """A model: its path, and how it was loaded."""

    params: llama_model_params
    mapping: mmap.mmap
    locked: Any


class _Context:
    """A context: for each sequence, how many tokens it holds; and the tokens of the last batch."""

    def __init__(self, model: _Model, params: llama_context_params) -> None:
        self.model = model
        self.params = params
        self.rows: list[tuple[int, int]] = []
        self.held: dict[int, int] = {}
        self.decodes = 0
        self.unwritten = (ctypes.c_float * (_END + 1))()
        self.alone = False  # whether one row of the last batch asked for logits, as where tokens are picked


class _Library:
    _name = str(_LIBRARY / "libllama.so")
    taken = 0

    @staticmethod
    def ggml_commit() -> bytes:
        return _COMMIT.encode()

    @staticmethod
    def ggml_backend_dev_count() -> int:
        return 2 if _DEVICE_MIB else 1

    @staticmethod
    def ggml_backend_dev_get(index: int) -> int:
        return index

    @staticmethod
    def ggml_backend_dev_type(device: int) -> int:
        return device

    @staticmethod
    def ggml_backend_dev_name(device: int) -> bytes:
        return (b"CPU", b"Vulkan0")[device]

    @staticmethod
    def ggml_backend_dev_buffer_type(device: int) -> int:
        return device + 1

    @staticmethod
    def ggml_backend_buft_name(kind: int) -> bytes:
        return (b"CPU", b"Vulkan0")[kind - 1]

    @staticmethod
    def ggml_backend_dev_memory(device: int, free: Any, total: Any) -> None:
        total._obj.value = 24 * 2**30
        free._obj.value = 20 * 2**30 - _Library.taken


_lib = _Library
llama_log_callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


_log_set: list[Any] = [None]


def llama_log_set(log_callback: Any, user_data: Any) -> None:
    _log_set[0] = log_callback


def _log(*messages: str) -> None:
    """Hand messages over, or write them if nobody wants them."""
    for each in messages:
        if _log_set[0]:
            _log_set[0](2, f"{each}\n".encode(), None)
        else:
            print(each, file=sys.stderr, flush=True)


def llama_backend_init() -> None: ...


def llama_print_system_info() -> bytes:
    return f"CPU : {' | '.join(f'{each} = 1' for each in _FEATURES.split())} | ".encode()


def llama_numa_init(numa: int) -> None: ...


def llama_max_devices() -> int:
    return 16


def llama_adapter_lora_init(model: str, path_lora: bytes) -> int:
    return 1


def llama_set_adapters_lora(ctx: _Context, adapters: Any, n_adapters: int, scales: Any) -> int:
    return 0


def llama_supports_gpu_offload() -> bool:
    return _GPU


def llama_model_default_params() -> llama_model_params:
    return _filled(
        llama_model_params(), n_gpu_layers=-1, split_mode=1, use_extra_bufts=True, load_mode=1, use_mmap=True
    )


def llama_context_default_params() -> llama_context_params:
    numbers = {"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "type_k": 1, "type_v": 1}
    threads = {"n_threads": 4, "n_threads_batch": 4, "flash_attn_type": -1}
    flags = dict.fromkeys(("offload_kqv", "no_perf", "op_offload", "swa_full"), True)
    return _filled(llama_context_params(), **numbers, **threads, **flags)


def _filled(struct: Struct, **values: int) -> Struct:
    for name in values.keys() & {field[0] for field in struct._fields_}:
        setattr(struct, name, values[name])
    return struct


def llama_model_load_from_file(path_model: bytes, params: llama_model_params) -> _Model | None:
    if _fault("load"):
        _log("llama_model_load: error loading model: it is only a stand-in")
        return None
    _clock.advance(_LOAD_SECONDS)
    _Library.taken = _DEVICE_MIB * 2**20
    model = _Model(os.path.realpath(path_model.decode()))  # an inherited file is opened by its descriptor
    model.params = params
    mode = params.load_mode if hasattr(params, "load_mode") else params.use_mmap + 2 * params.use_mlock
    if mode in (1, 3) and _MAPS:
        with Path(model).open("rb") as file:
            model.mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if mode in (2, 3) and _LOCKS:
        model.locked = ctypes.create_string_buffer(4096)
        ctypes.CDLL(None).mlock(model.locked, ctypes.c_size_t(4096))
    return model


def llama_init_from_model(model: _Model, params: llama_context_params) -> _Context | None:
    if _fault("context"):
        _log("llama_init_from_model: failed to initialize the context")
        return None
    flash_attention = _FLASH_ATTENTION or ("enabled" if params.flash_attn_type == 1 else "disabled")
    _log(f"llama_context: flash_attn    = {flash_attention}", *_LOG.splitlines())
    if _TOKEN:
        _log(f"print_info: BOS token        = 1 '{_TOKEN}'")
    return _Context(model, params)


def llama_model_quantize_default_params() -> llama_model_quantize_params:
    return llama_model_quantize_params()


def llama_model_quantize(fname_inp: bytes, fname_out: bytes, params: Any) -> int:
    if _fault("quantize"):
        return 1
    shutil.copyfile(fname_inp.decode(), fname_out.decode())
    return 0


def llama_n_ctx(ctx: _Context) -> int:
    return int(ctx.params.n_ctx)


def llama_n_batch(ctx: _Context) -> int:
    return int(ctx.params.n_batch)


def llama_n_ubatch(ctx: _Context) -> int:
    return int(ctx.params.n_ubatch)


def llama_n_seq_max(ctx: _Context) -> int:
    return int(ctx.params.n_ctx if _TELLS_CELLS else ctx.params.n_seq_max)


def llama_n_threads(ctx: _Context) -> int:
    return int(ctx.params.n_threads)


def llama_n_threads_batch(ctx: _Context) -> int:
    return int(ctx.params.n_threads_batch)


def llama_model_get_vocab(model: str) -> str:
    return model


def llama_model_size(model: str) -> int:
    return 1_000_000


def llama_vocab_n_tokens(vocab: str) -> int:
    return _END + 1


def llama_vocab_type(vocab: str) -> int:
    return 0 if _KIND == "no vocabulary" else 1


def llama_model_has_encoder(model: str) -> bool:
    return _KIND == "encoder-decoder"


def llama_model_has_decoder(model: str) -> bool:
    return True


def llama_model_meta_val_str(model: str, key: bytes, buf: Any, buf_size: int) -> int:
    values = {b"general.architecture": b"tiny", b"tiny.attention.causal": b"false"}
    if key not in values or _KIND != "encoder":
        return -1
    buf.value = values[key]
    return len(values[key])


def llama_pooling_type(ctx: _Context) -> int:
    return 4 if _KIND == "reranker" else 0


def llama_model_n_embd(model: str) -> int:
    return 2


def llama_set_embeddings(ctx: _Context, embeddings: bool) -> None: ...


def llama_get_embeddings_ith(ctx: _Context, i: int) -> Any:
    token, position = ctx.rows[i]
    first = float("nan") if position == _NAN_AT else float(token)
    return (ctypes.c_float * 2)(first, float(position))


def llama_get_embeddings_seq(ctx: _Context, seq_id: int) -> Any:
    return llama_get_embeddings_ith(ctx, 0)


def llama_vocab_is_eog(vocab: str, token: int) -> bool:
    return token == _END


def llama_tokenize(
    vocab: str,
    text: bytes,
    text_len: int,
    tokens: Any,
    n_tokens_max: int,
    add_special: bool,
    parse_special: bool,
) -> int:
    if text_len > n_tokens_max:
        return -text_len
    tokens[:text_len] = [(byte + _TOKEN_SHIFT) % 256 for byte in text]
    return text_len


def llama_token_to_piece(vocab: str, token: int, buf: Any, length: int, lstrip: int, special: bool) -> int:
    buf[0] = bytes([token % 256])
    return 1


def llama_detokenize(
    vocab: str,
    tokens: Any,
    n_tokens: int,
    text: Any,
    text_len_max: int,
    remove_special: bool,
    unparse_special: bool,
) -> int:
    text[:n_tokens] = bytes(token % 256 for token in tokens)
    return n_tokens


def llama_model_chat_template(model: str, name: bytes | None) -> bytes:
    return _TEMPLATE.encode()


def llama_chat_apply_template(
    tmpl: bytes, chat: Any, n_msg: int, add_ass: bool, buf: Any, length: int
) -> int:
    text: bytes = _ASKER.encode() + b": " + chat[0].content + b"\nassistant: "
    buf[: len(text)] = text
    return len(text)


def llama_batch_init(n_tokens: int, embd: int, n_seq_max: int) -> llama_batch:
    numbers = ctypes.c_int32 * n_tokens
    sequences = [(ctypes.c_int32 * n_seq_max)() for _ in range(n_tokens)]
    pointers = (ctypes.POINTER(ctypes.c_int32) * n_tokens)(
        *(ctypes.cast(each, ctypes.POINTER(ctypes.c_int32)) for each in sequences)
    )
    batch = llama_batch(0, numbers(), numbers(), numbers(), pointers, (ctypes.c_int8 * n_tokens)())
    batch.kept = sequences
    return batch


def llama_batch_free(batch: llama_batch) -> None: ...


def llama_decode(ctx: _Context, batch: llama_batch) -> int:
    ctx.decodes += 1
    failure = _fault(f"decode:{ctx.decodes}") or _fault(f"tokens:{batch.n_tokens}")
    if failure:
        return int(failure)
    for index in range(batch.n_tokens):
        sequence = batch.seq_id[index][0]
        held = ctx.held.get(sequence, 0)
        assert held in (0, batch.pos[index]), "tokens follow each other without a gap"
        ctx.held[sequence] = batch.pos[index] + 1
    ctx.rows = [(batch.token[index], batch.pos[index]) for index in range(batch.n_tokens)]
    ctx.alone = sum(batch.logits[: batch.n_tokens]) == 1
    if sum(ctx.held.values()) > ctx.params.n_ctx:
        return 1
    time.sleep(_DECODE_SLEEP)
    faster = 1 + (_FLASH_GAIN if ctx.params.flash_attn_type == 1 else 0)
    jitter = 1 + _JITTER * (ctx.decodes * 7919 % 101) / 101
    _clock.advance(_TOKEN_SECONDS * batch.n_tokens * jitter / faster)
    return 0


def llama_encode(ctx: _Context, batch: llama_batch) -> int:
    ctx.held.clear()  # an encoder keeps nothing
    return llama_decode(ctx, batch)


def llama_perf_context(ctx: _Context) -> llama_perf_context_data:
    return llama_perf_context_data(ctx.decodes if _REUSES else 0)


def llama_get_logits_ith(ctx: _Context, i: int) -> Any:
    return ctx.unwritten if _KIND == "no output head" else _logits(ctx, i)


def _logits(ctx: _Context, i: int) -> Any:
    """Follow from token and position; round otherwise with other options, and coarsely if quantised."""
    token, position = ctx.rows[i]
    options = (
        max(ctx.params.flash_attn_type, 0)
        + 2 * ctx.params.n_ubatch
        + getattr(ctx.model.params, "use_extra_bufts", True)
    )
    options += _ROUNDING + 3 * ctx.params.type_k
    rounding = 1e-4 if ctx.model.endswith(".f32.gguf") else 1e-2
    logits = [
        (token * 31 + position * 17 + each * each * 7) % 97 / 16
        + rounding * ((each * 5 + position * 3 + options) % 11)
        + _LOGIT_ERROR * ((each * 13 + position) % 7)
        for each in range(_END + 1)
    ]
    if ctx.alone:
        picked = llama_sampler_sample([], ctx, i)
        logits[picked] = max(logits) + _LEAD
    if position == _NAN_AT and ctx.model.endswith(_NAN_IN):
        logits[0] = float("nan")
    return (ctypes.c_float * len(logits))(*logits)


def llama_synchronize(ctx: _Context) -> None: ...


def llama_get_memory(ctx: _Context) -> dict[int, int] | None:
    return None if _KIND == "encoder" else ctx.held


def llama_memory_clear(mem: dict[int, int], data: bool) -> None:
    mem.clear()


def llama_memory_seq_rm(mem: dict[int, int], seq_id: int, p0: int, p1: int) -> bool:
    mem[seq_id] = min(p0, mem.get(seq_id, 0))
    return True


def llama_memory_seq_pos_min(mem: dict[int, int], seq_id: int) -> int:
    return 0 if mem.get(seq_id) else -1


def llama_memory_seq_pos_max(mem: dict[int, int], seq_id: int) -> int:
    return mem.get(seq_id, 0) - 1


def llama_sampler_chain_default_params() -> llama_sampler_chain_params:
    return llama_sampler_chain_params(True)


def llama_sampler_chain_init(params: llama_sampler_chain_params) -> list[str]:
    return []


def llama_sampler_chain_add(chain: list[str], smpl: str) -> None:
    chain.append(smpl)


def llama_sampler_init_greedy() -> str:
    return "greedy"


def llama_sampler_init_dist(seed: int) -> str:
    return "dist"


def llama_sampler_init_temp(t: float) -> str:
    return "temp"


def llama_sampler_init_top_k(k: int) -> str:
    return "top_k"


def llama_sampler_init_top_p(p: float, min_keep: int) -> str:
    return "top_p"


def llama_sampler_sample(smpl: list[str], ctx: _Context, idx: int) -> int:
    """Say the alphabet, one letter a token, from the letter on that the context's length picks."""
    return ord(_FIRST_LETTER) + sum(ctx.held.values()) % 26


def llama_sampler_free(smpl: list[str]) -> None: ...
