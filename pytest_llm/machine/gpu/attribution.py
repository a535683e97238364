"""Attribution: from device readings to the memory of one process tree, or the reason why it is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.records.device_memory import DEVICE_CHANGE, PER_PROCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class Reading(NamedTuple):
    """One device at one moment.

    Attributes:
        used: Bytes in use; None if unknown, or not asked because the device lists our processes.
        processes: Bytes by process, None for a process whose bytes are unknown; None if no process is listed.
        trouble: Why the bytes in use are unknown.
    """

    used: int | None
    processes: Mapping[int, int | None] | None
    trouble: str = ""


class Figures(NamedTuple):
    """Peaks of memory, in bytes.

    Attributes:
        total: Of all devices together, at one moment; None if unknown.
        by_device: Of each device that was used, by its index.
        note: How it was read, or why it is unknown.
        over_time: Moments in seconds, and the bytes of all devices together then.
    """

    total: float | None
    by_device: Mapping[int, float]
    note: str
    over_time: Sequence[tuple[float, float]] = ()


class Gathered:
    """Looks at all devices, and what one process tree takes of them."""

    def __init__(
        self,
        names: Sequence[str],
        before: Sequence[Reading],
        ours: Callable[[int], bool],
        exists: Callable[[int], bool],
    ) -> None:
        """Begin with nothing seen.

        Args:
            names: Of the devices.
            before: All devices before anything was loaded.
            ours: Returns whether a process belongs to the watched tree.
            exists: Returns whether a process is visible from here. In a container the driver may list ids of
                the host, such as the id that the watched process has there.
        """
        self._names = names
        self._before = before
        self._ours = ours
        self._exists = exists
        self._used: list[tuple[int | None, ...]] = []
        self._moments: list[float] = []
        self._together: list[int] = []  # what devices list of ours
        self._troubles: dict[int, str] = {}
        self._listed: set[int] = set()  # devices that tell our processes
        self._vague: set[int] = set()  # devices that do not tell who is there, or not how much of ours
        self._strangers: dict[int, set[int]] = {}
        self._unseen: dict[int, set[int]] = {}
        self._peaks: dict[int, int] = {}

    def add(self, readings: Sequence[Reading], moment: float = 0.0) -> None:
        """Add a reading of each device, all at one moment, in seconds."""
        self._moments.append(moment)
        self._used.append(tuple(reading.used for reading in readings))
        together = 0
        for device, reading in enumerate(readings):
            if reading.trouble:
                self._troubles.setdefault(device, reading.trouble)
            if reading.processes is None:
                self._vague.add(device)
                continue
            held = self._held(device, reading.processes)
            self._peaks[device] = max(held, self._peaks.get(device, 0))
            together += held
        self._together.append(together)

    def _held(self, device: int, processes: Mapping[int, int | None]) -> int:
        held = 0
        for pid, size in processes.items():
            if not self._ours(pid):
                self._note_other(device, pid)
                continue
            self._listed.add(device)
            if size is None:
                self._vague.add(device)
            held += size or 0
        return held

    def _note_other(self, device: int, pid: int) -> None:
        known = self._unseen.setdefault(device, set()), self._strangers.setdefault(device, set())
        if pid in known[0] or pid in known[1]:
            return
        was_there = pid in (self._before[device].processes or ())
        known[was_there or self._exists(pid)].add(pid)

    def figures(self) -> Figures:
        if self._listed and not self._vague:
            used = {device: float(self._peaks[device]) for device in sorted(self._listed)}
            return Figures(float(max(self._together)), used, PER_PROCESS, self._timed(self._together))
        # Where nobody of ours is listed, any device may be the one.
        devices = sorted(self._listed | self._vague) or range(len(self._names))
        refused = self._refused(devices)
        return Figures(None, {}, refused) if refused else self._change(devices)

    def _timed(self, sizes: Iterable[float]) -> Sequence[tuple[float, float]]:
        return [(moment, float(size)) for moment, size in zip(self._moments, sizes, strict=True)]

    def _refused(self, devices: Iterable[int]) -> str:
        """Return why the change of these devices is no measure, "" if it is one."""
        for device in devices:
            name, trouble = self._names[device], self._troubles.get(device) or self._before[device].trouble
            if trouble:
                return f"{name}: {trouble}"
            # One that came with ours, and that nobody here can see, is ours by its other id.
            unseen = self._unseen.get(device, set())
            strangers = sorted(self._strangers.get(device, set()) | (unseen if len(unseen) > 1 else set()))
            if strangers:
                ids = ", ".join(map(str, strangers))
                kind = "process" if len(strangers) == 1 else "processes"
                return f"{name} is used by {kind} {ids} as well, and does not tell how much each takes"
            if any(used[device] is None for used in self._used):
                return f"{name} told memory by process, but not all the time or not every device did"
        return ""

    def _change(self, devices: Iterable[int]) -> Figures:
        places = list(devices)
        changes = [[self._grown(used, device) for device in places] for used in self._used]
        peaks = (max(each) for each in zip(*changes, strict=True))
        totals = [sum(each) for each in changes]
        by_device = {device: peak for device, peak in zip(places, peaks, strict=True) if peak}
        return Figures(max(totals), by_device, DEVICE_CHANGE, self._timed(totals))

    def _grown(self, used: Sequence[int | None], device: int) -> float:
        now, before = used[device], self._before[device].used
        assert now is not None, "it would have been refused"
        assert before is not None, "it would have been refused"
        return float(max(0, now - before))
