"""VRAM of a process tree, sampled while a worker loads and works, or read once."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

import psutil

from pytest_llm.machine.gpu.attribution import Gathered, Reading
from pytest_llm.machine.gpu.device import Condition, Device, DeviceList, UnreadableError
from pytest_llm.machine.memory.over_time import Points
from pytest_llm.machine.memory.sampler import Ticker
from pytest_llm.records import Series
from pytest_llm.records.device_memory import NoDeviceLibrary
from pytest_llm.records.metrics import VRAM_BYTES, VRAM_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_llm.machine.gpu.attribution import Figures

_LOOKS_A_CONDITION = 16  # clocks and temperatures move slowly, and take many calls


class ProcessTree:
    """Returns whether an id is that of a process or of a descendant; each id is looked up once."""

    def __init__(self, pid: int) -> None:
        self._known = {pid: True}
        self._pid = pid

    def __call__(self, pid: int) -> bool:
        if pid not in self._known:
            self._known[pid] = self._descends(pid)
        return self._known[pid]

    def _descends(self, pid: int) -> bool:
        try:
            return any(parent.pid == self._pid for parent in psutil.Process(pid).parents())
        except psutil.Error:
            return False


class DeviceMemory:
    """A probe of one process tree: ``peak_vram`` in bytes, and the conditions of devices.

    ``peak_vram`` is always there: empty, with the reason as its note, if unknown. Each device that is used
    has ``gpu_N_vram`` (bytes, its name as the note), ``gpu_N_clock`` (hertz; what held the clocks down as the
    note), ``gpu_N_temperature`` (degrees Celsius) and ``gpu_N_power`` (watts); ``energy`` (joules) is of all
    of them. A process is watched more than once: the change of a device counts from the first time, before
    anything is loaded.
    """

    def __init__(
        self,
        found: DeviceList,
        ticker: Ticker | None = None,
        exists: Callable[[int], bool] = psutil.pid_exists,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._devices = found.devices
        self._reason = found.reason
        self._ticker = ticker or Ticker()
        self._exists = exists
        self._clock = clock
        self._before: dict[tuple[int, float], Sequence[Reading]] = {}

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        seen: dict[str, Series] = {}
        if not self._devices or not pid:
            seen["peak_vram"] = NoDeviceLibrary.because(self._reason or "no process stays to be watched")
            yield seen
            return
        readings = [_read(device) for device in self._devices]
        before = self._before.setdefault(_identity(pid), readings)
        names = [f"GPU {place}" for place in range(len(self._devices))]
        family = ProcessTree(pid)
        gathered = Gathered(names, before, family, self._exists)
        watching = _Watching(self._devices, gathered, family, self._clock)
        watching.start(readings)
        try:
            with self._ticker.calling(watching.sample):
                yield seen
        finally:
            seen.update(watching.stop())


class MemoryOnDevices:
    """Returns the bytes of a process tree on all devices together.

    The change of a device would read as a leak if another program allocated, so only bytes by process count.
    Devices are found at the first reading.
    """

    def __init__(self, find: Callable[[], DeviceList]) -> None:
        self._find = find
        self._families: dict[int, ProcessTree] = {}

    @cached_property
    def _devices(self) -> Sequence[Device]:
        return self._find().devices

    def __call__(self, pid: int) -> float | None:
        """Return the bytes; None if the tree is on no device, or a device does not list its bytes."""
        ours = self._families.setdefault(pid, ProcessTree(pid))
        sizes: list[int | None] = []
        for device in self._devices:
            try:
                listed = device.processes()
            except UnreadableError:
                return None
            sizes += [size for each, size in listed.items() if ours(each)]
        known = [size for size in sizes if size is not None]
        return float(sum(known)) if known and len(known) == len(sizes) else None


class _Watching:
    def __init__(
        self,
        devices: Sequence[Device],
        gathered: Gathered,
        ours: Callable[[int], bool],
        clock: Callable[[], float],
    ) -> None:
        self._devices = devices
        self._clock = clock
        self._readers = [_DeviceReader(device, ours) for device in devices]
        self._gathered = gathered
        self._conditions: list[list[Condition]] = []
        self._looks = 0
        self._last: list[Reading] = []
        self._broken = ""

    def start(self, first: Sequence[Reading]) -> None:
        self._gathered.add(first, self._clock())
        self._note_conditions()

    def sample(self) -> None:
        if self._broken:
            return
        try:
            readings = self._read_all()
            if readings != self._last:
                self._gathered.add(readings, self._clock())
                self._last = readings
            self._looks += 1
            if self._looks % _LOOKS_A_CONDITION == 0:
                self._note_conditions()
        except Exception as error:  # a peak of which a part is missing is none
            self._broken = f"the library failed: {type(error).__name__}: {error}"

    def stop(self) -> dict[str, Series]:
        if self._broken:
            return {"peak_vram": Series((), note=self._broken)}
        self._gathered.add(self._read_all(), self._clock())
        self._note_conditions()
        figures = self._gathered.figures()
        return {**_memory(self._devices, figures), **_standing(self._conditions, figures)}

    def _read_all(self) -> list[Reading]:
        return [each.read() for each in self._readers]

    def _note_conditions(self) -> None:
        self._conditions.append([device.condition() for device in self._devices])


class _DeviceReader:
    """Reads one device; lists its processes only if the bytes in use have changed since the last reading."""

    def __init__(self, device: Device, ours: Callable[[int], bool]) -> None:
        self._device = device
        self._ours = ours
        self._used: int | None = None
        self._own: Reading | None = None

    def read(self) -> Reading:
        used, trouble = _used(self._device)
        if self._own is None or used is None or used != self._used:
            reading = Reading(used, _processes(self._device), trouble)
            self._own = _by_process(reading, self._ours)
            self._used = used
            return self._own or reading
        return self._own


def _identity(pid: int) -> tuple[int, float]:
    """Return what differs between a process and a later one with the same id."""
    try:
        return pid, psutil.Process(pid).create_time()
    except psutil.Error:
        return pid, 0.0


def _read(device: Device) -> Reading:
    used, trouble = _used(device)
    return Reading(used, _processes(device), trouble)


def _used(device: Device) -> tuple[int | None, str]:
    try:
        return device.used(), ""
    except UnreadableError as error:
        return None, str(error)


def _processes(device: Device) -> Mapping[int, int | None] | None:
    with suppress(UnreadableError):  # else the change of the device has to do
        return device.processes()
    return None


def _by_process(reading: Reading, ours: Callable[[int], bool]) -> Reading | None:
    """Return the reading with processes alone if it lists the bytes of all of ours, else None."""
    sizes = [size for pid, size in (reading.processes or {}).items() if ours(pid)]
    return Reading(None, reading.processes) if sizes and None not in sizes else None


def _memory(devices: Sequence[Device], figures: Figures) -> dict[str, Series]:
    if figures.total is None:
        return {"peak_vram": Series((), note=figures.note)}
    listed = {
        f"gpu_{place}_vram": Series((peak,), note=_described(devices[place]))
        for place, peak in figures.by_device.items()
    }
    points = Points()
    for each in figures.over_time:
        points.add(*each)
    timed = points.series(VRAM_SECONDS, VRAM_BYTES)
    return {"peak_vram": Series((figures.total,), note=figures.note), **listed, **timed}


def _described(device: Device) -> str:
    return f"{device.name}, {device.total / 2**30:.1f} GiB" if device.total else device.name


def _standing(conditions: Sequence[Sequence[Condition]], figures: Figures) -> dict[str, Series]:
    """Return the conditions of the devices that were used, and their energy."""
    found: dict[str, Series] = {}
    energies: list[float | None] = []
    for place in figures.by_device:
        stood = [each[place] for each in conditions]
        held_down = dict.fromkeys(reason for each in stood for reason in each.held_down)
        found[f"gpu_{place}_clock"] = _series([each.clock for each in stood], ", ".join(held_down))
        found[f"gpu_{place}_temperature"] = _series([each.temperature for each in stood])
        found[f"gpu_{place}_power"] = _series([each.power for each in stood])
        first, last = stood[0].energy, stood[-1].energy
        energies.append(None if first is None or last is None else last - first)
    taken = [each for each in energies if each is not None]
    if taken and len(taken) == len(energies):
        found["energy"] = Series((sum(taken),))
    return {name: series for name, series in found.items() if series.values or series.note}


def _series(values: Sequence[float | None], note: str = "") -> Series:
    return Series(tuple(value for value in values if value is not None), note=note)
