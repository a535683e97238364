"""LoRA adapters: read before a context is made, applied to it afterwards."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from .bindings import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bindings import Bindings


def read(bindings: Bindings, model: Any, paths: Sequence[str]) -> list[Any]:
    """Return the adapters of files.

    Raises:
        RefusedError: llama.cpp refused one.
    """
    found = []
    for path in paths:
        adapter = bindings.llama.llama_adapter_lora_init(model, path.encode())
        if not adapter:
            raise RefusedError("load", f"llama.cpp refused the adapter {path}")
        found.append(adapter)
    return found


def apply(bindings: Bindings, context: Any, adapters: Sequence[Any], scales: Sequence[float]) -> None:
    """Apply adapters to a context.

    Raises:
        RefusedError: llama.cpp refused.
    """
    if not adapters:
        return
    llama = bindings.llama
    if bindings.has("llama_set_adapters_lora"):
        pointers = (ctypes.c_void_p * len(adapters))(*map(_address, adapters))
        kind = llama.llama_set_adapters_lora.argtypes[1]
        numbers = (ctypes.c_float * len(scales))(*scales)
        codes = [llama.llama_set_adapters_lora(context, ctypes.cast(pointers, kind), len(adapters), numbers)]
    else:
        codes = [
            llama.llama_set_adapter_lora(context, adapter, scale) for adapter, scale in zip(adapters, scales)
        ]
    if any(codes):
        raise RefusedError("load", "llama.cpp refused to apply the adapters")


def _address(adapter: Any) -> int:
    address = adapter if isinstance(adapter, int) else ctypes.cast(adapter, ctypes.c_void_p).value
    assert address is not None
    return address
