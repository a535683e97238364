"""What differs because it was asked for: load options, build settings, and what follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.records import Build, PairedRun

ASKED = "asked for"
COMPILED = "other build settings"
# Every difference in a buffer goes by this name here.
BUFFERS = "buffers"

_CACHE = {"n_ctx", "kv_bytes", BUFFERS}
_GRAPH = {"graph_splits", "graph_reuse"}
_OUTPUT = {"greedy_output"}
# Who computes where: other kernels round otherwise, and flash attention left to llama.cpp follows its device.
_PLACEMENT = {"layers_offloaded", "flash_attn", "kv_bytes", BUFFERS, *_GRAPH, *_OUTPUT}

_ROPE = (
    *("rope_scaling", "yarn_ext_factor", "yarn_attn_factor"),
    *("yarn_beta_fast", "yarn_beta_slow", "yarn_orig_ctx"),
)
# Load option -> what else may differ where it does. Tokens, template and weights follow from none.
_FOLLOWS: dict[str, set[str]] = {
    "n_ctx": {*_CACHE, "n_batch", "n_ubatch"},  # batches are lowered to the context
    "n_batch": {"n_ubatch", BUFFERS},
    "n_ubatch": {"n_batch", *_CACHE, *_GRAPH, *_OUTPUT},  # a sliding window's cache holds an ubatch more
    "n_seq_max": {*_CACHE, *_GRAPH, *_OUTPUT},
    "n_threads": {"threads_at_work", *_OUTPUT},
    "n_threads_batch": {"threads_at_work", *_OUTPUT},
    "n_gpu_layers": _PLACEMENT,
    "split_mode": _PLACEMENT,
    "main_gpu": _PLACEMENT,
    "offload_kqv": _PLACEMENT,
    "op_offload": _PLACEMENT,
    "use_extra_bufts": _PLACEMENT,
    "load_mode": {BUFFERS},  # mapped weights lie in a buffer of another type
    "check_tensors": set(),
    "flash_attn": {*_CACHE, *_GRAPH, *_OUTPUT},  # older releases pad the cache otherwise with it
    "type_k": {"flash_attn", *_CACHE, *_GRAPH, *_OUTPUT},
    "type_v": {"flash_attn", *_CACHE, *_GRAPH, *_OUTPUT},
    "swa_full": {*_CACHE, *_GRAPH, *_OUTPUT},
    "kv_unified": {*_CACHE, *_GRAPH, *_OUTPUT},
    "rope_freq_base": {"freq_base", *_OUTPUT},
    "rope_freq_scale": {"freq_scale", *_OUTPUT},
    **{option: {"freq_scale", *_OUTPUT} for option in _ROPE},
    **dict.fromkeys(("n_cpu_moe", "tensor_buft_overrides", "tensor_split", "numa"), _PLACEMENT),
    "lora": {BUFFERS, *_GRAPH, *_OUTPUT},
    "draft_model": {BUFFERS, *_CACHE, *_GRAPH, *_OUTPUT},
}
# Without an instruction set or a backend there is nothing to repack or to offload.
_FOLLOWS_FROM_SETTINGS = {"compiled_with", *_PLACEMENT}


def expected(run: PairedRun) -> dict[str, str]:
    """Return what may differ between two subjects, each with the reason why that is no drift."""
    theirs, ours = (vars(each.subject.load_options) for each in (run.reference, run.candidate))
    # A build's features are told, never judged: nobody chose a machine's compiler by accident.
    found = {"compiled_with": COMPILED}
    if run.reference.build.compiled_with != run.candidate.build.compiled_with and _same_source(run):
        found |= dict.fromkeys(_FOLLOWS_FROM_SETTINGS, COMPILED)
    asked = [name for name, value in theirs.items() if value != ours[name]]
    for name in asked:
        found |= dict.fromkeys({name, *_FOLLOWS[name]}, ASKED)
    return found


def _same_source(run: PairedRun) -> bool:
    theirs, ours = run.reference.build, run.candidate.build
    return (theirs.release, theirs.llama_cpp_commit) == (ours.release, ours.llama_cpp_commit)


def features_apart(theirs: Build, ours: Build) -> tuple[list[str], list[str]]:
    """Return the features that one build was compiled with and the other was not, of each of them.

    A feature is a CPU's instruction set or a backend's setting: "AVX2"; "ARCHS = 520" where it has a value. A
    build that tells none, such as a server by URL, is not compared.
    """
    if not (theirs.compiled_with and ours.compiled_with):
        return [], []
    before, now = set(_features(theirs)), set(_features(ours))
    return sorted(before - now), sorted(now - before)


def _features(build: Build) -> Iterator[str]:
    # "CPU : SSE3 = 1 | AVX2 = 1 | CUDA : ARCHS = 500,610 | USE_GRAPHS = 1"
    for part in build.compiled_with.split("|"):
        name, _, value = part.rpartition(" : ")[2].strip().partition(" = ")
        if value == "1":
            yield name
        elif name and value != "0":
            yield f"{name} = {value}"
