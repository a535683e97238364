"""What llama.cpp says that it allocated, host and devices apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.models.footprint.weights import Placed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import JSON

_MIB = 2**20
# Backends that compute in the host's memory; pinned memory of a device's driver is the host's as well.
_HOSTS = ("CPU", "AMX", "BLAS", "KleidiAI", "SpacemiT")
_PINNED = "_Host"

WEIGHTS, KV, RECURRENT = "model", "KV", "RS"


def on_host(buffer: str) -> bool:
    """Whether a buffer type of ggml lies in the host's memory: "CPU_Mapped", "CUDA_Host"."""
    return buffer.startswith(_HOSTS) or buffer.endswith(_PINNED)


def logged(buffers: Mapping[str, JSON], kind: str) -> Placed | None:
    """Return the bytes of all buffers of a kind; None if llama.cpp told of none.

    Args:
        buffers: MiB by device and kind, as in a run's ``resolved["buffers_mib"]``.
        kind: ``WEIGHTS``, ``KV`` or ``RECURRENT``.
    """
    found = [(name.rpartition(" ")[0], size) for name, size in buffers.items() if name.endswith(f" {kind}")]
    if not found:
        return None
    placed = Placed()
    for buffer, size in found:
        size_in_bytes = round(size * _MIB) if isinstance(size, (int, float)) else 0
        placed += Placed(size_in_bytes, 0) if on_host(buffer) else Placed(0, size_in_bytes)
    return placed
