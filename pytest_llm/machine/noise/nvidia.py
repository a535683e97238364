"""NVIDIA GPUs that slowed down, or that somebody else computed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.machine.gpu.nvml import SLOWDOWNS, words
from pytest_llm.machine.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pytest_llm.machine.gpu.nvml import Nvml


class _Reading(NamedTuple):
    reasons: int
    pids: frozenset[int]

    def __or__(self, other: _Reading) -> _Reading:
        return _Reading(self.reasons | other.reasons, self.pids | other.pids)


class BusyDevices:
    """Judges a stretch by the devices in use, at its beginning and at its end.

    A device is in use if one of our processes computes on it. Inside some containers NVML lists nothing, or
    ids of the host: then no device is in use, and no stretch is judged.
    """

    def __init__(self, nvml: Nvml, workers: Callable[[], Collection[int]]) -> None:
        self._nvml = nvml
        self._workers = workers
        self.mark()

    def mark(self) -> None:
        self._marked = self._read()

    def since_mark(self) -> tuple[str, ...]:
        ours = frozenset(self._workers())
        reasons: list[str] = []
        for device, now in self._read().items():
            seen = self._marked[device] | now
            if not seen.pids & ours:
                continue
            reasons += [f"GPU {device}: {name}" for name in words(seen.reasons, SLOWDOWNS)]
            if seen.pids - ours:
                reasons.append(f"GPU {device}: another process computes on it")
        return tuple(reasons)

    def _read(self) -> dict[int, _Reading]:
        return {
            device: _Reading(self._nvml.clock_reasons(device), self._nvml.computing(device))
            for device in self._nvml.devices
        }


def find(workers: Callable[[], Collection[int]], nvml: Nvml | Unavailable) -> BusyDevices | Unavailable:
    """Return the source, or why it is unavailable."""
    return nvml if isinstance(nvml, Unavailable) else BusyDevices(nvml, workers)
