"""Effective options that only llama.cpp's messages tell.

Their wording changes between releases; what is not found is left out, never guessed. A pattern covers a
whole message, from the function that wrote it on: text of the model is never at the beginning of a message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_llm.records.effective_options import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_llm.records import JSON

_BY = r"~?\w+: +"  # "load_tensors: ", the function
_COUNT = r"(\d{1,15})"
_GRAPH = r"graph(?: \(pp bs=\d+, tg bs=\d+\))?"
# Of a prompt's graph and, if it differs, of a token's.
_BOTH = rf"{_COUNT}(?: / {_COUNT}| \(with bs=\d+\), {_COUNT} \(with bs=1\))?(?:[, ].*)?"
_NUMBER = r"\d{1,15}(?:\.\d{1,15})?(?:e[+-]?\d{1,2})?"


def message_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern of a message that some function wrote."""
    return re.compile(_BY + text)


# Name -> what is written, and what it is made into. The last word on each thing counts.
_LOGGED: dict[str, tuple[re.Pattern[str], Callable[[str], JSON]]] = {
    "flash_attn": (
        message_pattern(
            r"(?:Flash Attention (?:was auto, set to )?|flash_attn\s*=\s*)(enabled|disabled|0|1)"
        ),
        str,
    ),
    "layers_offloaded": (message_pattern(r"offloaded (\d+/\d+) layers to GPU"), str),
    "graph_nodes": (message_pattern(rf"{_GRAPH}(?:: | )nodes\s*=\s*{_BOTH}"), str),
    "graph_splits": (message_pattern(rf"{_GRAPH}(?:: nodes = [\d /]+,)? splits\s*=\s*{_BOTH}"), str),
    "load_mode": (message_pattern(r"loading model tensors, .*\(load_mode = ([\w+]+)\)"), str),
    "use_mmap": (message_pattern(r"loading model tensors, .*\(mmap = (true|false)\)"), "true".__eq__),
    "kv_unified": (message_pattern(r"kv_unified\s*=\s*(true|false)"), "true".__eq__),
    "type_k": (message_pattern(r"(?:KV self )?size\s*=.*, K \((\w+)\): .*"), str),
    "type_v": (message_pattern(r"(?:KV self )?size\s*=.*, V \((\w+)\): .*"), str),
    # The context's own: the model's are called freq_base_train and freq_scale_train.
    "freq_base": (message_pattern(rf"freq_base\s*=\s*({_NUMBER})"), float),
    "freq_scale": (message_pattern(rf"freq_scale\s*=\s*({_NUMBER})"), float),
}
# Newer releases log the sequences and, after a slash, the streams: each has its own cells.
_CELLS = message_pattern(rf"(?:KV self )?size\s*=.*\( *{_COUNT} cells, [^()]*?(?:/{_COUNT} seqs)?\), K \(.*")
_BUFFER = message_pattern(rf"(\S+) +(model|KV|RS|compute|output) buffer size = +({_NUMBER}) MiB")
# A device may have several of these, each in a message of its own; the others are planned and logged again.
_ADDED_UP = {"model", "KV", "RS"}


def matches(pattern: re.Pattern[str], messages: Iterable[str]) -> list[re.Match[str]]:
    """Return the matches of a pattern with whole messages."""
    return [match for match in map(pattern.fullmatch, messages) if match]


def read_messages(messages: Sequence[str]) -> dict[str, JSON]:
    """Return the options that messages tell."""
    found: dict[str, JSON] = {}
    for name, (pattern, made) in _LOGGED.items():
        told = matches(pattern, messages)
        if told:
            found[name] = made(told[-1][1])
    buffers = read_buffers(messages)
    return {**found, "buffers_mib": buffers} if buffers else found


def read_counts(messages: Sequence[str]) -> dict[str, int]:
    """Return the counts that messages tell: of the graphs of a prompt and of a token, and of KV cells."""
    found: dict[str, int] = {}
    for name in ("graph_nodes", "graph_splits"):
        told = matches(_LOGGED[name][0], messages)
        if told:
            prompt, *token = (int(each) for each in told[-1].groups() if each is not None)
            found |= {f"{name}_prompt": prompt, name: token[0] if token else prompt}
    caches = [match.groups() for match in matches(_CELLS, messages)]
    if caches:
        found["kv_cells"] = sum(int(cells) * int(streams or 1) for cells, streams in caches)
    return found


def read_buffers(messages: Iterable[str]) -> dict[str, JSON]:
    """Return the sizes of buffers by name ("CPU model"), in MiB."""
    sizes: dict[str, float] = {}
    for match in matches(_BUFFER, messages):
        device, kind, size = match.groups()
        name = f"{device} {kind}"
        before = sizes.get(name, 0.0) if kind in _ADDED_UP else 0.0
        sizes[name] = round(before + float(size), 2)
    return dict(sizes)


def effective_options(
    asked: dict[str, JSON], reported: dict[str, JSON], messages: Sequence[str]
) -> dict[str, JSON]:
    """Return the load options as they really are.

    Args:
        asked: The load options.
        reported: The answers of llama.cpp's functions, which correct them.
        messages: What llama.cpp wrote, one by one, which corrects both.
    """
    return normalize({**asked, **reported, **read_messages(messages)})
