"""Effective options that only llama.cpp's log tells.

Its wording changes between releases; what is not found is left out, never guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_llm.records.effective_options import normalize

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.records import JSON

# Name -> what is written, and what it is made into. The last word on each thing counts.
_LOGGED: dict[str, tuple[re.Pattern[str], Callable[[str], JSON]]] = {
    "flash_attn": (
        re.compile(r"(?:Flash Attention (?:was auto, set to )?|flash_attn\s*=\s*)(enabled|disabled|0|1)"),
        str,
    ),
    "layers_offloaded": (re.compile(r"offloaded (\d+/\d+) layers"), str),
    "graph_nodes": (re.compile(r"graph(?:: | )nodes\s*=\s*(\d+)"), str),
    "graph_splits": (re.compile(r"graph(?:: nodes.*| )splits\s*=\s*(\d+)"), str),
    "load_mode": (re.compile(r"\(load_mode = ([\w+]+)\)"), str),
    "use_mmap": (re.compile(r"\(mmap = (true|false)\)"), "true".__eq__),
    "kv_unified": (re.compile(r"\bkv_unified\s*=\s*(true|false)"), "true".__eq__),
    "type_k": (re.compile(r"\bK \((\w+)\): "), str),
    "type_v": (re.compile(r"\bV \((\w+)\): "), str),
    # The context's own: the model's are called freq_base_train and freq_scale_train.
    "freq_base": (re.compile(r"\bfreq_base\s*=\s*([\d.]+)"), float),
    "freq_scale": (re.compile(r"\bfreq_scale\s*=\s*([\d.e+-]+)"), float),
}
_BUFFER = re.compile(r"(\S+) +(model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")
# A device may have several of these, each on its own line; the others are planned and logged again.
_ADDED_UP = {"model", "KV", "RS"}


def read_log(log: str) -> dict[str, JSON]:
    """Return the options that a log contains."""
    found: dict[str, JSON] = {}
    for name, (pattern, made) in _LOGGED.items():
        matches = pattern.findall(log)
        if matches:
            found[name] = made(matches[-1])
    buffers = read_buffers(log)
    return {**found, "buffers_mib": buffers} if buffers else found


def read_buffers(log: str) -> dict[str, JSON]:
    """Return the sizes of buffers by name ("CPU model"), in MiB."""
    sizes: dict[str, float] = {}
    # A log is long, and the pattern begins anew at nearly each character of it.
    sizes_of_buffers = "\n".join(line for line in log.splitlines() if " buffer size = " in line)
    for device, kind, size in _BUFFER.findall(sizes_of_buffers):
        name = f"{device} {kind}"
        before = sizes.get(name, 0.0) if kind in _ADDED_UP else 0.0
        sizes[name] = round(before + float(size), 2)
    return dict(sizes)


def effective_options(asked: dict[str, JSON], reported: dict[str, JSON], log: str) -> dict[str, JSON]:
    """Return the load options as they really are.

    Args:
        asked: The load options.
        reported: The answers of llama.cpp's functions, which correct them.
        log: What llama.cpp wrote, which corrects both.
    """
    return normalize({**asked, **reported, **read_log(log)})
