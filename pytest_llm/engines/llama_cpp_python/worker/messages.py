"""Messages of llama.cpp while it loads, one by one.

Names and tokens of the model stand in its log, with their line breaks. A message that it hands to a callback
begins with llama.cpp's own words, so that what it tells of devices and buffers cannot be forged.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bindings import Bindings

_STDERR = 2
_LONGEST = 400  # bytes
_MOST = 2000
# What the parent reads: load_log.py and offload_check.py. The other nine in ten are not kept.
_TELLING = re.compile(
    rb"buffer size|using device|offloaded \d|unused tensor|flash_attn|Flash Attention"
    rb"|graph.{0,40} (?:nodes|splits)|\((?:mmap|load_mode) = |kv_unified|\bK \(|freq_"
)


@contextmanager
def collected(bindings: Bindings) -> Iterator[list[str]]:
    """Collect messages that may tell of the load; all are written to standard error as well."""
    found: list[str] = []
    llama = bindings.llama

    def receive(_: int, text: bytes | None, __: Any) -> None:
        if text:
            os.write(_STDERR, text)
            if len(text) <= _LONGEST and _TELLING.search(text) and len(found) < _MOST:
                found.append(text.decode(errors="replace").removesuffix("\n"))

    callback = llama.llama_log_callback(receive)
    llama.llama_log_set(callback, None)
    try:
        yield found
    finally:
        llama.llama_log_set(bindings.silent, None)
