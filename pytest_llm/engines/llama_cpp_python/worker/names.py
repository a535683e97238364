"""Names of the functions of llama.cpp that the worker calls, in old and new releases.

A build is asked for names, newest first, since packaged and patched builds carry any version number.
"""

from __future__ import annotations

from typing import NamedTuple


class Need(NamedTuple):
    """A function that the worker calls by its newest name.

    Attributes:
        older: Its earlier names, newest first.
        lost: What is not covered on a build without it; "" if another way leads there, None if every model
            needs it.
        arguments: How many it takes, if some releases have a function of that name with others.
    """

    older: tuple[str, ...] = ()
    lost: str | None = None
    arguments: int | None = None


_DEPTH = "workloads at a depth, on models that cannot forget single tokens"
_TEMPLATE = "the chat template as a part of requests"
_COPIES = "telling a wrong output from rounding by a copy of the model with weights of 32 bits"
_OVERRIDES = "tensor_buft_overrides and n_cpu_moe"
_SAMPLING = "sampling at a temperature"
_EMBEDDINGS = "embeddings"

NEEDS = {
    # Starting, and what the build says of itself.
    "llama_backend_init": Need(),
    "llama_log_set": Need(),
    "llama_print_system_info": Need(),
    "llama_supports_gpu_offload": Need(),
    "ggml_commit": Need(lost="the build's llama.cpp commit"),
    # Devices. What llama.cpp writes of its buffers leads there as well.
    "ggml_backend_dev_count": Need(lost=""),
    "ggml_backend_dev_get": Need(lost=""),
    "ggml_backend_dev_type": Need(lost=""),
    "ggml_backend_dev_name": Need(lost=""),
    "ggml_backend_dev_memory": Need(lost=""),
    # Loading.
    "llama_model_default_params": Need(),
    "llama_model_load_from_file": Need(("llama_load_model_from_file",)),
    "llama_model_size": Need(),
    "llama_context_default_params": Need(),
    "llama_init_from_model": Need(("llama_new_context_with_model",)),
    "llama_n_ctx": Need(),
    "llama_n_batch": Need(),
    "llama_n_ubatch": Need(),
    "llama_n_seq_max": Need(),
    "llama_n_threads": Need(),
    "llama_n_threads_batch": Need(),
    "llama_set_n_threads": Need(lost="instructions per token"),
    "llama_numa_init": Need(lost="numa"),
    "llama_max_devices": Need(lost="tensor_split"),
    "ggml_backend_dev_buffer_type": Need(lost=_OVERRIDES),
    "ggml_backend_buft_name": Need(lost=_OVERRIDES),
    "llama_adapter_lora_init": Need(("llama_lora_adapter_init",), lost="LoRA adapters"),
    "llama_set_adapters_lora": Need(lost=""),
    "llama_set_adapter_lora": Need(("llama_lora_adapter_set",), lost=""),
    # Decoding.
    "llama_batch_init": Need(),
    "llama_batch_free": Need(),
    "llama_decode": Need(),
    "llama_synchronize": Need(),
    "llama_get_logits_ith": Need(lost="top_logprobs"),
    "llama_perf_context": Need(lost="whether compute graphs are used again"),
    # What a model can be asked for, and embeddings.
    "llama_model_has_encoder": Need(lost=""),
    "llama_model_has_decoder": Need(lost=""),
    "llama_model_meta_val_str": Need(lost=""),
    "llama_pooling_type": Need(lost=_EMBEDDINGS),
    "llama_model_n_embd": Need(("llama_n_embd",), lost=_EMBEDDINGS),
    "llama_model_n_embd_out": Need(lost=""),
    "llama_encode": Need(lost=_EMBEDDINGS),
    "llama_set_embeddings": Need(lost=_EMBEDDINGS),
    "llama_get_embeddings_ith": Need(lost=_EMBEDDINGS),
    "llama_get_embeddings_seq": Need(lost=_EMBEDDINGS),
    # Copies with weights of 32 bits.
    "llama_model_quantize_default_params": Need(lost=_COPIES),
    "llama_model_quantize": Need(lost=_COPIES),
    # Memory. The older functions take the context where the newest take the context's memory.
    "llama_get_memory": Need(lost=""),
    "llama_memory_clear": Need(("llama_kv_self_clear", "llama_kv_cache_clear")),
    "llama_memory_seq_rm": Need(("llama_kv_self_seq_rm", "llama_kv_cache_seq_rm")),
    "llama_memory_seq_pos_max": Need(("llama_kv_self_seq_pos_max", "llama_kv_cache_seq_pos_max")),
    "llama_memory_seq_pos_min": Need(
        ("llama_kv_self_seq_pos_min",), lost="seeing that a sliding window has forgotten a beginning"
    ),
    "llama_state_seq_get_size": Need(lost=_DEPTH),
    "llama_state_seq_get_data": Need(lost=_DEPTH),
    "llama_state_seq_set_data": Need(lost=_DEPTH),
    # Text. The older functions take the model where the newest take the model's vocabulary.
    "llama_model_get_vocab": Need(lost=""),
    "llama_vocab_type": Need(),
    "llama_vocab_n_tokens": Need(("llama_n_vocab",)),
    "llama_vocab_is_eog": Need(("llama_token_is_eog",)),
    "llama_tokenize": Need(),
    "llama_token_to_piece": Need(),
    "llama_detokenize": Need(lost="detokenize"),
    "llama_model_chat_template": Need(lost=_TEMPLATE, arguments=2),
    "llama_chat_apply_template": Need(lost=_TEMPLATE, arguments=6),
    # Sampling.
    "llama_sampler_chain_default_params": Need(),
    "llama_sampler_chain_init": Need(),
    "llama_sampler_chain_add": Need(),
    "llama_sampler_init_greedy": Need(),
    "llama_sampler_init_top_k": Need(lost=_SAMPLING),
    "llama_sampler_init_top_p": Need(lost=_SAMPLING),
    "llama_sampler_init_temp": Need(lost=_SAMPLING),
    "llama_sampler_init_dist": Need(lost=_SAMPLING),
    "llama_sampler_sample": Need(),
    "llama_sampler_free": Need(),
}
