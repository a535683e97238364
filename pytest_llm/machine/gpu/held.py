"""What devices hold for a process, where their vendors' libraries tell it by process."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pytest_llm.machine.gpu.device import UnreadableError
from pytest_llm.machine.memory.process_tree import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.machine.gpu.device import Device, Found


class HeldOnDevices:
    """Bytes on all devices together.

    How much more of a device is in use than before is not asked for: whatever anybody else takes meanwhile
    would read as a leak.
    """

    def __init__(self, find: Callable[[], Found]) -> None:
        """Take what finds the devices; it is asked when something is first read."""
        self._find = find
        self._families: dict[int, Family] = {}

    @cached_property
    def _devices(self) -> Sequence[Device]:
        return self._find().devices

    def __call__(self, pid: int) -> float | None:
        """Return what a process and its children hold.

        Returns:
            None where it is on no device, or one of the devices does not tell it.
        """
        ours = self._families.setdefault(pid, Family(pid))
        sizes: list[int | None] = []
        for device in self._devices:
            try:
                listed = device.processes()
            except UnreadableError:
                return None
            sizes += [size for each, size in listed.items() if ours(each)]
        told = [size for size in sizes if size is not None]
        return float(sum(told)) if told and len(told) == len(sizes) else None
