"""Makes the stand-in offer what a release of its time offered, under the names of that time.

LLAMA_STAND_IN_ERA names a release: ``0.3.5`` has models for vocabularies and ``kv_cache`` functions,
``0.3.9`` has vocabularies and ``kv_self``, ``0.3.16`` has memories, too. None of them has ``load_mode``.
"""

from __future__ import annotations

import ctypes
from typing import Any

_BEFORE_VOCABULARIES: dict[str, str | None] = {
    "llama_model_load_from_file": "llama_load_model_from_file",
    "llama_init_from_model": "llama_new_context_with_model",
    "llama_vocab_n_tokens": "llama_n_vocab",
    "llama_vocab_is_eog": "llama_token_is_eog",
    "llama_model_get_vocab": None,
    "llama_model_chat_template": None,
}
_BEFORE_MEMORIES: dict[str, str | None] = {
    "llama_get_memory": None,
    "llama_memory_clear": None,
    "llama_memory_seq_rm": None,
    "llama_memory_seq_pos_min": None,
    "llama_memory_seq_pos_max": None,
}
# Release -> names that were others or none; the prefix of its memory functions; fields that were none.
_ERAS: dict[str, tuple[dict[str, str | None], str, set[str]]] = {
    "0.3.5": (
        {**_BEFORE_VOCABULARIES, **_BEFORE_MEMORIES},
        "llama_kv_cache",
        {"use_extra_bufts", "no_perf", "op_offload", "swa_full", "kv_unified"},
    ),
    "0.3.9": (_BEFORE_MEMORIES, "llama_kv_self", {"use_extra_bufts", "op_offload", "swa_full", "kv_unified"}),
    "0.3.16": ({}, "llama_kv_self", set()),
}
_NEWER_FIELDS = {"load_mode", "flash_attn_type", "n_outputs_max_per_seq"}


def apply(module: Any, era: str) -> None:
    """Change the module of functions and structs."""
    names, prefix, lacking = _ERAS[era]
    _add_memory_functions(module, prefix)
    for newest, older in names.items():
        function = getattr(module, newest)
        delattr(module, newest)
        if older:
            setattr(module, older, function)
    if era == "0.3.5":
        # A model, a template, messages and their number: what was declared of it.
        module.llama_chat_apply_template.argtypes = (ctypes.c_void_p,) * 4
        del module._lib.ggml_commit
    boolean = ctypes.c_bool
    module.llama_model_params = _struct(
        module.llama_model_params, lacking, (("use_mmap", boolean), ("use_mlock", boolean))
    )
    module.llama_context_params = _struct(module.llama_context_params, lacking, (("flash_attn", boolean),))


def _add_memory_functions(module: Any, prefix: str) -> None:
    """Add functions that take a context; the ones of the newest release take what it holds."""
    clear, remove = module.llama_memory_clear, module.llama_memory_seq_rm
    last = module.llama_memory_seq_pos_max

    def seq_pos_max(ctx: Any, seq_id: int) -> Any:
        return last(ctx.held, seq_id)

    setattr(module, f"{prefix}_clear", lambda ctx: clear(ctx.held, False))
    setattr(module, f"{prefix}_seq_rm", lambda ctx, *rest: remove(ctx.held, *rest))
    # The oldest have it in the library, but do not declare it.
    where = module._lib if prefix == "llama_kv_cache" else module
    setattr(where, f"{prefix}_seq_pos_max", seq_pos_max)


def _struct(newest: Any, lacking: set[str], older: tuple[tuple[str, Any], ...]) -> Any:
    kept = tuple(each for each in newest._fields_ if each[0] not in lacking | _NEWER_FIELDS)
    body: dict[str, Any] = {"_fields_": kept + older}
    if ("flash_attn", ctypes.c_bool) in older:
        body["flash_attn_type"] = property(lambda self: int(self.flash_attn))  # for the stand-in itself
    return type(newest.__name__, (ctypes.Structure,), body)
