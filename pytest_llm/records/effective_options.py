"""Normalization of effective options, which releases and engines call by several names.

Options are normalized when they are read and again when they are compared, because stored ones have the names
that an older version of this package knew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records.subject import JSON

# Option -> other names of its values, each with its source.
_VALUES: dict[str, dict[str, JSON]] = {
    "flash_attn": {
        # llama_context to 0.3.16: "flash_attn = %d"; the field was a boolean.
        "0": "off",
        "1": "on",
        "False": "off",
        "True": "on",
        # llama_flash_attn_type_name, from 0.3.17 on: "flash_attn = enabled", "Flash Attention enabled".
        "disabled": "off",
        "enabled": "on",
    },
    "load_mode": {
        # llama_load_mode_name, from 0.3.35 on: "(load_mode = dio)".
        "dio": "direct_io",
    },
}

# llama_model_params to 0.3.34, and load_tensors there, "(mmap = true)": a boolean each, where later releases
# have load_mode. llama.cpp's log has use_mmap only.
_OLD_LOAD_OPTIONS = ("use_mmap", "use_mlock", "use_direct_io")

# Buffer types: the first name is the old one.
_BUFFERS = {
    # ggml-cpu-aarch64.cpp, whose buffers any CPU could have, became repack.cpp.
    "CPU_AARCH64": "CPU_REPACK",
}


def normalize(options: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return effective options under their newest names and with their newest values."""
    found = {name: _value(name, each) for name, each in options.items() if name not in _OLD_LOAD_OPTIONS}
    if options.get("use_mmap") is not None:
        found["load_mode"] = _load_mode(options)
    buffers = found.get("buffers_mib")
    if isinstance(buffers, dict):
        found["buffers_mib"] = {_buffer(name): size for name, size in buffers.items()}
    return found


def _value(option: str, value: JSON) -> JSON:
    if isinstance(value, (str, int)):
        return _VALUES.get(option, {}).get(str(value), value)
    return value


def _load_mode(options: Mapping[str, JSON]) -> str:
    if options.get("use_direct_io"):
        return "direct_io"
    mapped = bool(options["use_mmap"])
    # If no log shows whether pages were locked, the option decides.
    locked = options.get("use_mlock", "mlock" in str(options.get("load_mode")))
    return "+".join([*(["mmap"] if mapped else []), *(["mlock"] if locked else [])]) or "none"


def _buffer(name: str) -> str:
    device, _, kind = name.partition(" ")
    return f"{_BUFFERS.get(device, device)} {kind}"
