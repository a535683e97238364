"""NVIDIA GPUs that slowed down, or that somebody else computed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.machine.gpu.nvml import SLOWDOWNS, words
from pytest_llm.machine.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pytest_llm.machine.gpu.nvml import Nvml


class _Look(NamedTuple):
    reasons: int
    pids: frozenset[int]

    def __or__(self, other: _Look) -> _Look:
        return _Look(self.reasons | other.reasons, self.pids | other.pids)


class BusyDevices:
    """Judges a stretch by how the devices in use stand at its beginning and at its end.

    A device is in use if one of our processes computes on it. Where NVML does not show them (inside some
    containers it shows nobody, or ids of outside), none is, and no stretch is judged.
    """

    def __init__(self, nvml: Nvml, workers: Callable[[], Collection[int]]) -> None:
        """Begin the first stretch.

        Args:
            nvml: The library.
            workers: Returns the ids of our own processes.
        """
        self._nvml = nvml
        self._workers = workers
        self.mark()

    def mark(self) -> None:
        """Begin a stretch."""
        self._marked = self._look()

    def since_mark(self) -> tuple[str, ...]:
        """Return the reasons, with the device's index."""
        ours = frozenset(self._workers())
        reasons: list[str] = []
        for device, now in self._look().items():
            seen = self._marked[device] | now
            if not seen.pids & ours:
                continue
            reasons += [f"GPU {device}: {name}" for name in words(seen.reasons, SLOWDOWNS)]
            if seen.pids - ours:
                reasons.append(f"GPU {device}: another process computes on it")
        return tuple(reasons)

    def _look(self) -> dict[int, _Look]:
        return {
            device: _Look(self._nvml.clock_reasons(device), self._nvml.computing(device))
            for device in self._nvml.devices
        }


def find(workers: Callable[[], Collection[int]], nvml: Nvml | Unavailable) -> BusyDevices | Unavailable:
    """Return the source; unavailable without the library, its driver or a device."""
    return nvml if isinstance(nvml, Unavailable) else BusyDevices(nvml, workers)
