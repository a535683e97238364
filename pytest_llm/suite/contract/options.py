"""Trials of load options, and the signs of one that took effect."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_type_hints

from pytest_llm.engines.llama_cpp_python.load_log import read_messages
from pytest_llm.records import LoadOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.suite.candidate import Accepted, Refused

# A value per numeric option that is neither its default nor the suite's own. Older releases raise batches to
# 64 tokens.
_NUMBERS: Mapping[str, float] = {
    **{"n_ctx": 512, "n_batch": 64, "n_ubatch": 64, "n_seq_max": 2, "n_threads": 2, "n_threads_batch": 2},
    **{"n_gpu_layers": 0, "main_gpu": 1, "rope_freq_base": 5000.0, "rope_freq_scale": 0.5},
    **{"yarn_ext_factor": 1.0, "yarn_attn_factor": 1.0, "yarn_beta_fast": 32.0, "yarn_beta_slow": 1.0},
    **{"yarn_orig_ctx": 4096, "n_cpu_moe": 1},
}
# Options that are texts; adapters and draft models are files that the suite does not have.
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "tensor_buft_overrides": (r"blk\.0\..*=CPU",),
    "tensor_split": ("1",),
    "lora": (),
    "draft_model": (),
}
# Options that need another one.
_TOGETHER_WITH: Mapping[str, Mapping[str, Any]] = {
    "type_v": {"flash_attn": "on"},
    "kv_unified": {"n_seq_max": 2},
}
# These depend on the machine's devices and file systems.
MACHINE_DEPENDENT = {
    ("split_mode", "none"),
    ("split_mode", "row"),
    ("main_gpu", 1),
    ("load_mode", "mlock"),
    ("load_mode", "mmap+mlock"),
    ("load_mode", "direct_io"),
}
# Reported by the context; the number of sequences not in every release.
_REPORTED = ("n_batch", "n_ubatch", "n_seq_max", "n_threads", "n_threads_batch")
# Only in llama.cpp's messages.
_LOGGED = ("type_k", "type_v", "kv_unified")


class Trial(NamedTuple):
    """An option, a value, and the other options that it needs."""

    option: str
    value: Any
    beside: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.option}={self.value}"

    @property
    def options(self) -> dict[str, Any]:
        return {**self.beside, self.option: self.value}


def all_trials() -> list[Trial]:
    """Return a trial per named value, two per switch and one per number."""
    kinds = get_type_hints(LoadOptions)
    return [
        Trial(each.name, value, _TOGETHER_WITH.get(each.name, {}))
        for each in fields(LoadOptions)
        for value in _values(each.name, kinds[each.name])
    ]


def contradiction(trial: Trial, accepted: Accepted) -> str:
    """Return the sign that an option had no effect; "" without one. Not every option shows."""
    option, value = trial.option, trial.value
    effective_options = accepted.effective_options
    if option == "n_ctx" and effective_options["n_ctx"] < value:
        return f"the context has {effective_options['n_ctx']} tokens"
    if option in _REPORTED and effective_options.get(option, value) != value:
        return f"the context has {option}={effective_options[option]}"
    if option == "flash_attn" and value != "auto" and effective_options["flash_attn"] != value:
        return f"llama.cpp writes that flash attention is {effective_options['flash_attn']}"
    if option in _LOGGED:
        written = read_messages(accepted.messages).get(option, value)
        if written != value:
            return f"llama.cpp writes {_as_written(written)}"
    return ""


def names_an_option(refused: Refused) -> bool:
    return any(each.name in refused.message for each in fields(LoadOptions))


def _values(name: str, kind: Any) -> tuple[Any, ...]:
    if kind is bool:
        return (False, True)
    if kind is str:
        return _TEXTS[name]
    return get_args(kind) or (_NUMBERS[name],)


def _as_written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
