"""Load mode as a process really has it: whether the model's files are mapped, and how much is locked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.models import part_paths
from pytest_llm.system.procfs import mapped_files, read_word, sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import JSON

_MODES = ("mmap", "mlock", "direct_io")
_LOCKED = "VmLck"
_MIB = 2**20
# Buffers of weights that llama.cpp can lock; repacked and pinned ones are others.
_LOCKABLE = ("CPU model", "CPU_Mapped model")
_NEARLY_ALL = 0.9


class ProcessMemory:
    """The files that a process has mapped and the memory that it has locked, at the most."""

    def __init__(self) -> None:
        self.mapped: frozenset[str] = frozenset()
        self.locked: float | None = None

    def read(self, pid: int) -> None:
        """Look at a process, once or again and again while it runs."""
        self.mapped |= mapped_files(pid)
        locked = sizes(read_word(Path(f"/proc/{pid}/status")) or "", [_LOCKED]).get(_LOCKED)
        if locked is not None:
            self.locked = max(locked, self.locked or 0.0)


def real_load_mode(
    written: str, memory: ProcessMemory, path: str, buffers: Mapping[str, JSON], *, on_gpu: bool
) -> dict[str, JSON]:
    """Return ``load_mode`` of a loaded model, and ``locked_bytes`` if locks were asked for.

    llama.cpp only warns if it cannot lock, and goes on.

    Args:
        written: The load mode that was asked for, or that llama.cpp logs.
        memory: Of the process; what the system does not tell of it stays as written.
        path: The model, or its first part.
        buffers: Sizes in MiB of the buffers in llama.cpp's log.
        on_gpu: Layers may be on a device; if all weights are, nothing stays mapped.
    """
    modes = {each for each in _MODES if each in written.split("+")}
    in_files = any(str(each.resolve()) in memory.mapped for each in part_paths(path))
    lockable = sum(size for size in map(buffers.get, _LOCKABLE) if isinstance(size, (int, float))) * _MIB
    if in_files:
        modes = (modes | {"mmap"}) - {"direct_io"}
    elif memory.mapped and (lockable or not on_gpu):
        modes -= {"mmap"}
    found: dict[str, JSON] = {}
    locked = memory.locked
    if "mlock" in modes and locked is not None:
        found["locked_bytes"] = int(locked)
        if locked < _NEARLY_ALL * lockable or not (locked or on_gpu):
            modes.remove("mlock")
    if written == "auto" and not modes:
        return found
    return {"load_mode": "+".join(each for each in _MODES if each in modes) or "none", **found}
