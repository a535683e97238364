"""Free memory of devices, as ggml reports it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bindings import Bindings

_NEEDED = (
    "ggml_backend_dev_count",
    "ggml_backend_dev_get",
    "ggml_backend_dev_type",
    "ggml_backend_dev_name",
    "ggml_backend_dev_memory",
)
# Of enum ggml_backend_dev_type: the CPU, and several devices as one, each of which is listed as well.
_LEFT_OUT = (0, 4)
# To ask these is to start their runtime, which is a part of loading; and their drivers tell more.
_SEEN_BY_DRIVERS = ("CUDA", "ROCm", "MUSA")


def free_memory(bindings: Bindings) -> dict[str, int]:
    """Return the free bytes of each device, by its name.

    With Metal, and with Vulkan if the driver has VK_EXT_memory_budget, this is what the process may still
    take; with other backends it is what no process takes. Left out are devices without memory of their own,
    such as BLAS; a release without these functions reports nothing.
    """
    if not all(bindings.has(name) for name in _NEEDED):
        return {}
    llama = bindings.llama
    found: dict[str, int] = {}
    for index in range(llama.ggml_backend_dev_count()):
        device = llama.ggml_backend_dev_get(index)
        name = llama.ggml_backend_dev_name(device).decode(errors="replace")
        if llama.ggml_backend_dev_type(device) in _LEFT_OUT or name.startswith(_SEEN_BY_DRIVERS):
            continue
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        llama.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        if total.value:
            found[name] = free.value
    return found
