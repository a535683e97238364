"""A loaded model with its context: loading, batches, and going back to a depth."""

from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .bindings import Bindings

_LOAD_MODES = {"auto": -1, "none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "direct_io": 4}
_SPLIT_MODES = {"none": 0, "layer": 1, "row": 2}
_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
# enum ggml_type; only the types that a KV cache can have.
_CACHE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
# Where older releases have `use_mmap` and `use_mlock` instead.
_OLD_LOAD_MODES = {
    "auto": (True, False),
    "none": (False, False),
    "mmap": (True, False),
    "mlock": (False, True),
    "mmap+mlock": (True, True),
    "direct_io": (False, False),
}


class RefusedError(Exception):
    """llama.cpp refused; ``kind`` says what: "load" or "request"."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Row(NamedTuple):
    """One token of a batch."""

    token: int
    position: int
    sequence: int
    logits: bool


class Calls(NamedTuple):
    """What runs a batch: llama.cpp's own two functions, or what stands in front of them."""

    decode: Callable[[Any, Any], int]
    synchronize: Callable[[Any], Any]


class Batch:
    """A ``llama_batch`` with explicit positions and sequences, made once and filled often."""

    def __init__(self, bindings: Bindings, capacity: int) -> None:
        self.struct = bindings.llama.llama_batch_init(capacity, 0, 1)
        self._free = bindings.llama.llama_batch_free

    def fill(self, rows: Sequence[Row]) -> None:
        """Put these rows in, and nothing else."""
        struct = self.struct
        struct.n_tokens = len(rows)
        for index, row in enumerate(rows):
            struct.token[index] = row.token
            struct.pos[index] = row.position
            struct.n_seq_id[index] = 1
            struct.seq_id[index][0] = row.sequence
            struct.logits[index] = row.logits

    def free(self) -> None:
        """Give the memory back."""
        self._free(self.struct)


class Subject:
    """A model, its context and its vocabulary."""

    def __init__(self, bindings: Bindings, model: Any, context: Any, asked: dict[str, Any]) -> None:
        self.bindings = bindings
        self.llama = bindings.llama
        self.model = model
        self.context = context
        self.memory = bindings.memory_of(context)
        self.asked = asked
        self.vocabulary = bindings.vocabulary_of(model)
        self.n_vocabulary: int = self.llama.llama_vocab_n_tokens(self.vocabulary)
        self.n_batch: int = self.llama.llama_n_batch(context)
        self.n_ubatch: int = self.llama.llama_n_ubatch(context)
        self._batch = Batch(bindings, self.n_batch)
        self._states: dict[int, ctypes.Array[ctypes.c_uint8]] = {}

    @classmethod
    def load(
        cls, bindings: Bindings, path: str, options: dict[str, Any], all_logits: bool
    ) -> tuple[Subject, float]:
        """Load a model and make a context; return it with the seconds that took.

        Args:
            bindings: What the installed release offers.
            path: The GGUF file.
            options: Every field of ``records.LoadOptions``.
            all_logits: Make room for the logits of every token of an ubatch, not of the last alone.

        Raises:
            RefusedError: llama.cpp refused the file or the options.
        """
        llama = bindings.llama
        model_params = _model_params(llama, options)
        context_params = _context_params(llama, options, all_logits)
        started = time.perf_counter()
        model = llama.llama_model_load_from_file(path.encode(), model_params)
        if not model:
            raise RefusedError("load", "llama.cpp refused to load the model")
        context = llama.llama_init_from_model(model, context_params)
        if not context:
            raise RefusedError("load", "llama.cpp loaded the model but refused to make a context")
        llama.llama_synchronize(context)
        seconds = time.perf_counter() - started
        return cls(bindings, model, context, options), seconds

    def resolved(self) -> dict[str, Any]:
        """Return the options as the context has them; the rest is in llama.cpp's own output."""
        llama, context = self.llama, self.context
        return {
            "n_ctx": llama.llama_n_ctx(context),
            "n_batch": self.n_batch,
            "n_ubatch": self.n_ubatch,
            "n_seq_max": llama.llama_n_seq_max(context),
            "n_threads": llama.llama_n_threads(context),
            "n_threads_batch": llama.llama_n_threads_batch(context),
            "weights_bytes": llama.llama_model_size(self.model),
            "vocabulary_type": self.bindings.vocabulary_type(self.vocabulary),
            **self.bindings.chat_template(self.model),
        }

    def offloads(self) -> bool:
        """Whether layers were to go to a GPU, and this build can put them there."""
        can: bool = self.llama.llama_supports_gpu_offload()
        return can and self.asked["n_gpu_layers"] != 0

    def calls(self) -> Calls:
        """Return llama.cpp's own functions."""
        return Calls(self.llama.llama_decode, self.llama.llama_synchronize)

    def decode(self, rows: Sequence[Row], calls: Calls | None = None) -> None:
        """Decode up to ``n_batch`` rows and wait for the end of it.

        Args:
            rows: The batch.
            calls: What runs it, if not llama.cpp's own functions.

        Raises:
            RefusedError: llama.cpp answered anything but success.
        """
        decode, synchronize = calls or self.calls()
        self._batch.fill(rows)
        self.check(decode(self.context, self._batch.struct))
        synchronize(self.context)

    def check(self, code: int) -> None:
        """Raise unless a decode succeeded.

        Raises:
            RefusedError: It did not.
        """
        if code == 1:
            raise RefusedError("request", "llama.cpp found no room in the context (raise n_ctx)")
        if code:
            raise RefusedError("request", f"llama_decode failed with code {code}")

    def clear(self) -> None:
        """Forget every token."""
        self.bindings.memory_clear(self.memory)

    def prefill(self, prompts: Sequence[Sequence[int]], start: int = 0) -> None:
        """Decode one prompt a sequence, from position ``start`` on."""
        for rows in self.chunks(prompts, start):
            self.decode(rows)

    def chunks(self, prompts: Sequence[Sequence[int]], start: int) -> list[list[Row]]:
        """Cut one prompt a sequence into batches; the last token of each prompt asks for logits."""
        rows = [
            Row(token, start + index, sequence, index == len(prompt) - 1)
            for sequence, prompt in enumerate(prompts)
            for index, token in enumerate(prompt)
        ]
        return [rows[index : index + self.n_batch] for index in range(0, len(rows), self.n_batch)]

    def roll_back(self, depth: int, sequences: int) -> bool:
        """Forget everything past ``depth``; False where this kind of memory cannot.

        Recurrent and sliding-window memories answer no, or have already overwritten what came before.
        """
        if depth == 0:
            self.clear()
            return True
        if self._states:
            return self._restore()
        for sequence in range(sequences):
            first, _ = self.bindings.memory_span(self.memory, sequence)
            if first != 0 or not self.bindings.memory_seq_rm(self.memory, sequence, depth):
                return False
            if self.bindings.memory_span(self.memory, sequence) != (0, depth - 1):
                return False
        return True

    def save_states(self, sequences: int) -> None:
        """Keep each sequence as it is now, for :meth:`roll_back` where tokens cannot be forgotten."""
        for sequence in range(sequences):
            size = self.llama.llama_state_seq_get_size(self.context, sequence)
            buffer = (ctypes.c_uint8 * size)()
            self.llama.llama_state_seq_get_data(self.context, buffer, size, sequence)
            self._states[sequence] = buffer

    def drop_states(self) -> None:
        """Forget what :meth:`save_states` kept."""
        self._states.clear()

    def _restore(self) -> bool:
        self.clear()
        return all(
            self.llama.llama_state_seq_set_data(self.context, buffer, len(buffer), sequence)
            for sequence, buffer in self._states.items()
        )


def _has(params: Any, field: str) -> bool:
    # ctypes structs take any attribute, a field or not.
    return field in {each[0] for each in params._fields_}


def _set(params: Any, option: str, value: Any, lacking: Any) -> None:
    """Set an option that not every release has.

    Args:
        params: The struct.
        option: The struct's field.
        value: What was asked for.
        lacking: What a release without the field does.

    Raises:
        RefusedError: The release lacks the field, and something else was asked for.
    """
    if _has(params, option):
        setattr(params, option, value)
    elif value != lacking:
        raise RefusedError("load", f"this release of llama-cpp-python has no {option}={value}")


def _set_load_mode(params: Any, mode: str) -> None:
    if _has(params, "load_mode"):
        params.load_mode = _LOAD_MODES[mode]
        return
    if _has(params, "use_direct_io"):
        params.use_direct_io = mode == "direct_io"
    elif mode == "direct_io":
        raise RefusedError("load", "this release of llama-cpp-python has no load_mode=direct_io")
    params.use_mmap, params.use_mlock = _OLD_LOAD_MODES[mode]


def _model_params(llama: Any, options: dict[str, Any]) -> Any:
    params = llama.llama_model_default_params()
    # Every release takes a large number for "all layers"; not all take a negative one.
    layers = options["n_gpu_layers"]
    params.n_gpu_layers = layers if layers >= 0 else 2**31 - 1
    params.split_mode = _SPLIT_MODES[options["split_mode"]]
    params.main_gpu = options["main_gpu"]
    params.check_tensors = options["check_tensors"]
    _set_load_mode(params, options["load_mode"])
    _set(params, "use_extra_bufts", options["use_extra_bufts"], lacking=True)
    return params


def _context_params(llama: Any, options: dict[str, Any], all_logits: bool) -> Any:
    params = llama.llama_context_default_params()
    for option in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_threads", "n_threads_batch"):
        setattr(params, option, options[option])
    for option in ("offload_kqv", "rope_freq_base", "rope_freq_scale"):
        setattr(params, option, options[option])
    params.type_k = _CACHE_TYPES[options["type_k"]]
    params.type_v = _CACHE_TYPES[options["type_v"]]
    if _has(params, "flash_attn_type"):
        params.flash_attn_type = _FLASH_ATTENTION[options["flash_attn"]]
    else:
        params.flash_attn = options["flash_attn"] == "on"
    _set(params, "op_offload", options["op_offload"], lacking=True)
    _set(params, "swa_full", options["swa_full"], lacking=True)
    # Before there was a choice, sequences shared one buffer; a single one cannot tell.
    shared = options["kv_unified"] if options["n_seq_max"] == 1 else True
    _set(params, "kv_unified", options["kv_unified"], lacking=shared)
    if all_logits and _has(params, "n_outputs_max_per_seq"):
        params.n_outputs_max_per_seq = 0
    if _has(params, "no_perf"):
        params.no_perf = True
    return params
