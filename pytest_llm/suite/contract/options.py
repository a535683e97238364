"""Which values of load options are tried, and where one that was accepted can be seen."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_type_hints

from pytest_llm.records import LoadOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.suite.contract.candidate import Accepted, Refused

# Options that are numbers, each with a value that is neither the default nor what is loaded with anyway.
# Batches of less than 64 tokens were raised to that by older releases.
_NUMBERS: Mapping[str, float] = {
    "n_ctx": 512,
    "n_batch": 64,
    "n_ubatch": 64,
    "n_seq_max": 2,
    "n_threads": 2,
    "n_threads_batch": 2,
    "n_gpu_layers": 0,
    "main_gpu": 1,
    "rope_freq_base": 5000.0,
    "rope_freq_scale": 0.5,
}
# What makes sense only beside something else.
_TOGETHER_WITH: Mapping[str, Mapping[str, Any]] = {
    "type_v": {"flash_attn": "on"},
    "kv_unified": {"n_seq_max": 2},
}
# Whether llama.cpp takes these depends on the machine's devices and file systems.
_UP_TO_THE_MACHINE = {
    ("split_mode", "none"),
    ("split_mode", "row"),
    ("main_gpu", 1),
    ("load_mode", "mlock"),
    ("load_mode", "mmap+mlock"),
    ("load_mode", "direct_io"),
}
# What the context itself tells; the sequences not in every release.
_TOLD = ("n_batch", "n_ubatch", "n_seq_max", "n_threads", "n_threads_batch")
# What llama.cpp writes, where no function tells.
_WRITTEN = {
    "type_k": re.compile(r"\bK \((\w+)\):"),
    "type_v": re.compile(r"\bV \((\w+)\):"),
    "kv_unified": re.compile(r"kv_unified\s*\(?= (true|false)"),
}


class Asked(NamedTuple):
    """An option, the value that is tried, and what is asked for beside it."""

    option: str
    value: Any
    beside: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.option}={self.value}"

    @property
    def options(self) -> dict[str, Any]:
        """All load options that are asked for."""
        return {**self.beside, self.option: self.value}


def everything() -> list[Asked]:
    """Return every value of options that have names, both of those that are on or off, one of numbers."""
    kinds = get_type_hints(LoadOptions)
    return [
        Asked(each.name, value, _TOGETHER_WITH.get(each.name, {}))
        for each in fields(LoadOptions)
        for value in _values(each.name, kinds[each.name])
    ]


def unseen(asked: Asked, accepted: Accepted) -> str:
    """Return what contradicts that the option arrived, "" if nothing does; not every option can be seen."""
    option, value = asked.option, asked.value
    effective_options = accepted.effective_options
    if option == "n_ctx" and effective_options["n_ctx"] < value:
        return f"the context has {effective_options['n_ctx']} tokens"
    if option in _TOLD and effective_options.get(option, value) != value:
        return f"the context has {option}={effective_options[option]}"
    if option == "flash_attn" and value != "auto" and effective_options["flash_attn"] != value:
        return f"llama.cpp writes that flash attention is {effective_options['flash_attn']}"
    if option in _WRITTEN:
        written = _WRITTEN[option].findall(accepted.log)
        if written and written[-1] != _as_written(value):
            return f"llama.cpp writes {written[-1]}"
    return ""


def up_to_the_machine(asked: Asked) -> bool:
    """Whether llama.cpp may refuse the value and be right."""
    return (asked.option, asked.value) in _UP_TO_THE_MACHINE


def names_an_option(refused: Refused) -> bool:
    """Whether the message says which option it was."""
    return any(each.name in refused.message for each in fields(LoadOptions))


def _values(name: str, kind: Any) -> tuple[Any, ...]:
    if kind is bool:
        return (False, True)
    return get_args(kind) or (_NUMBERS[name],)


def _as_written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
