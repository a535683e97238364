"""Names of other tools, and what this package calls the same thing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_llm.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAPPING = "load_mode='mmap', or load_mode='none' to read the file into memory"
_LOCKING = "load_mode='mlock', or load_mode='mmap+mlock'"
_SAMPLING = "sampling is an argument of gguf_model.generate, not of the load"
_GENERATED = "llm_workload(generate_tokens=N)"
_PROMPT = "llm_workload(prompt_tokens=N)"

# What is written instead -> names in llama-cpp-python's Llama, llama.cpp's flags, Ollama, vLLM and others.
_OURS = {
    _MAPPING: "mmap no_mmap use_mmap",
    _LOCKING: "mlock use_mlock",
    "load_mode='direct_io'": "direct_io dio use_direct_io",
    "n_gpu_layers": "gpu gpu_layers gpu_offload n_gpu ngl num_gpu num_gpu_layers",
    "n_ctx": "c context context_length context_size ctx ctx_size max_model_len max_seq_len n_context num_ctx",
    "n_batch": "b batch_size num_batch",
    "n_ubatch": "ub ubatch_size",
    "n_threads": "num_thread num_threads t thread threads",
    "n_threads_batch": "num_thread_batch tb threads_batch",
    "llm_workload(parallel=N), or n_seq_max": "max_num_seqs n_parallel np num_parallel",
    "flash_attn": "fa flash_attention flash_attention_type flash_attn_type use_flash_attn",
    "type_k": "cache_type_k ctk kv_cache_type_k",
    "type_v": "cache_type_v ctv kv_cache_type_v",
    "type_k and type_v": "cache_type kv_cache_dtype kv_cache_type type_kv",
    "offload_kqv": "kv_offload nkvo no_kv_offload",
    "op_offload": "no_op_offload nopo",
    "use_extra_bufts": "no_repack repack",
    "rope_freq_base": "rope_base rope_frequency_base",
    "rope_freq_scale": "rope_frequency_scale rope_scale",
    "rope_scaling": "rope_scaling_type",
    "yarn_orig_ctx": "yarn_original_context",
    "n_cpu_moe": "ncmoe",
    "tensor_buft_overrides": "ot override_tensor override_tensors tensor_override",
    "tensor_split": "ts",
    "lora='FILE.gguf:SCALE'": "lora_adapter lora_adapters lora_path lora_scale lora_scaled",
    "draft_model='FILE.gguf'": "draft md model_draft num_draft_tokens speculative_model",
    "llm_workload(embed=True)": "embd embedding embeddings",
    _GENERATED: "max_new_tokens max_tokens n_gen n_predict num_predict tg",
    _PROMPT: "n_prompt pp prompt_length",
    "llm_workload(depth=N)": "n_depth",
    "llm_workload(parallel=N)": "parallel sequences",
    "the first argument of llm_model": "gguf model model_path",
    _SAMPLING: "min_p repeat_penalty seed temp temperature top_k top_p typical_p",
}
_OURS_BY_NAME = {each: ours for ours, names in _OURS.items() for each in names.split()}

URL, HUGGING_FACE, OLLAMA = "a URL", "a repository of Hugging Face", "a model of Ollama"
LM_STUDIO = "a model of LM Studio"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*")
_HUGGING_FACE = re.compile(r"(?:https?://)?(?:hf\.co|huggingface\.co)/.*|hf://.*|hf:.*", re.IGNORECASE)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(?::[\w.-]+)?")
_OLLAMA = re.compile(
    r"(?:https?://)?(?:registry\.ollama\.ai|ollama\.com)/.*|ollama:.*|[A-Za-z0-9][\w.-]*:[\w.-]+"
)


def unknown_argument(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown argument, with our name if it is another tool's.

    Args:
        kind: In the singular: "load option".
        name: As given; dashes count as underscores.
        known: The names of this kind.
    """
    ours = _OURS_BY_NAME.get(name.strip("-").replace("-", "_").lower())
    if ours is None:
        return UnknownNameError(kind, name, known)
    return UsageError(f"unknown {kind} {name!r}: {ours if ours == _SAMPLING else f'write {ours}'}")


def kind_of_model(name: str) -> str:
    """Return what a name means elsewhere (``URL``, ``HUGGING_FACE``, ``OLLAMA``), or "" if nothing.

    A path such as "models/tiny" looks like a repository: ask only if no file lies there.
    """
    file = name.lower().endswith(".gguf")
    if name.startswith("lmstudio:"):
        return LM_STUDIO
    if _URL.fullmatch(name) and file:
        return URL
    if _HUGGING_FACE.fullmatch(name) or (_REPOSITORY.fullmatch(name) and not file):
        return HUGGING_FACE
    if _OLLAMA.fullmatch(name) and not file:
        return OLLAMA
    return URL if _URL.fullmatch(name) else ""
