"""Load options as the structs of the installed release take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import buffers
from .bindings import RefusedError

if TYPE_CHECKING:
    from .bindings import Bindings

_LOAD_MODES = {"auto": -1, "none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "direct_io": 4}
_SPLIT_MODES = {"none": 0, "layer": 1, "row": 2}
_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
_ROPE_SCALING = {"unspecified": -1, "none": 0, "linear": 1, "yarn": 2, "longrope": 3}
NUMA = {"disabled": 0, "distribute": 1, "isolate": 2, "numactl": 3}  # enum ggml_numa_strategy
_YARN = ("yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow")
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


def _has(params: Any, field: str) -> bool:
    # ctypes structs take any attribute, a field or not.
    return field in {each[0] for each in params._fields_}


def _set(params: Any, option: str, value: Any, lacking: Any) -> None:
    """Set an option that not every release has.

    Args:
        params: The struct.
        option: The struct's field.
        value: What was asked for.
        lacking: The behaviour of a release without the field.

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


def model_params(bindings: Bindings, options: dict[str, Any]) -> Any:
    """Return ``llama_model_params`` as asked for.

    Raises:
        RefusedError: The release has no such option, or no buffer or device that it names.
    """
    llama = bindings.llama
    params = llama.llama_model_default_params()
    # Every release takes a large number for "all layers"; not all take a negative one.
    layers = options["n_gpu_layers"]
    params.n_gpu_layers = layers if layers >= 0 else 2**31 - 1
    params.split_mode = _SPLIT_MODES[options["split_mode"]]
    params.main_gpu = options["main_gpu"]
    params.check_tensors = options["check_tensors"]
    _set_load_mode(params, options["load_mode"])
    _set(params, "use_extra_bufts", options["use_extra_bufts"], lacking=True)
    buffers.split_tensors(bindings, params, options["tensor_split"])
    buffers.override(bindings, params, options["tensor_buft_overrides"], options["n_cpu_moe"])
    return params


def context_params(llama: Any, options: dict[str, Any], all_logits: bool) -> Any:
    """Return ``llama_context_params`` as asked for, with room for all logits or for one row a sequence.

    Raises:
        RefusedError: The release has no such option.
    """
    params = llama.llama_context_default_params()
    for option in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_threads", "n_threads_batch"):
        setattr(params, option, options[option])
    for option in ("offload_kqv", "rope_freq_base", "rope_freq_scale"):
        setattr(params, option, options[option])
    params.rope_scaling_type = _ROPE_SCALING[options["rope_scaling"]]
    for option in _YARN:
        if options[option] != -1:  # the default of a release, which is the model's own
            setattr(params, option, options[option])
    params.yarn_orig_ctx = options["yarn_orig_ctx"]
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
