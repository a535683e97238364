"""Noise: what may disturb a round from outside. One module for each source, and one line here.

A source sees the machine, never a time or a rate, so dropping a round is blind to its outcome.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.machine.gpu.nvml import open_nvml
from pytest_llm.machine.noise import counters, nvidia, steal
from pytest_llm.machine.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pytest_llm.machine.gpu.nvml import Nvml

    Source = steal.Steal | counters.MovedCounters | nvidia.BusyDevices


class AllNoise:
    """Every source of this machine as one :class:`~pytest_llm.records.protocols.Noise`.

    Attributes:
        covered: The names of the sources that are here.
        not_covered: The names of the others, and why they are unavailable.
    """

    def __init__(self, sources: Mapping[str, Source | Unavailable]) -> None:
        self._sources = [source for source in sources.values() if not isinstance(source, Unavailable)]
        self.covered = tuple(name for name, source in sources.items() if not isinstance(source, Unavailable))
        self.not_covered = {
            name: found.reason for name, found in sources.items() if isinstance(found, Unavailable)
        }

    def mark(self) -> None:
        for source in self._sources:
            source.mark()

    def since_mark(self) -> tuple[str, ...]:
        return tuple(reason for source in self._sources for reason in source.since_mark())


def find_noise(
    workers: Callable[[], Collection[int]],
    root: Path = Path("/"),
    processors: Collection[int] | None = None,
    nvml: Callable[[], Nvml | Unavailable] = open_nvml,
) -> AllNoise:
    """Return every source that this machine has.

    Args:
        workers: Returns the ids of our own processes that may be on a GPU now.
        root: What stands for ``/``.
        processors: Those that the workers may run on; None for this process's own.
        nvml: Opens NVIDIA's library.
    """
    return AllNoise(
        {
            "CPU steal": steal.find(root),
            "CPU thermal throttling": counters.find_thermal(root, processors),
            "CPU quota": counters.find_quota(root),
            "NVIDIA GPU": nvidia.find(workers, nvml()),
        }
    )
