"""The VRAM of a worker: sampled while the worker loads and works."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from pytest_llm.probes.device_figures import Gathered, Look
from pytest_llm.probes.devices import Condition, Device, Found, UnreadableError
from pytest_llm.probes.family import Family
from pytest_llm.probes.ticker import Ticker
from pytest_llm.records import Series
from pytest_llm.records.devices import untold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_llm.probes.device_figures import Figures

_LOOKS_A_CONDITION = 16  # clocks and temperatures move slowly, and take many calls


class DeviceMemory:
    """Watches one process and its children; the series are ``peak_vram``, in bytes, and what belongs to it.

    ``peak_vram`` is always there: empty, with the reason as its note, where it cannot be told. For each
    device that is used there are ``gpu_N_vram`` (bytes, its name as the note), ``gpu_N_clock`` (hertz; what
    held the clocks down as the note), ``gpu_N_temperature`` (degrees Celsius), ``gpu_N_power`` (watts); and
    ``energy`` (joules) of all of them. A process is watched more than once: the change of a device counts
    from the first time on, before anything was loaded.
    """

    def __init__(
        self,
        found: Found,
        ticker: Ticker | None = None,
        exists: Callable[[int], bool] = psutil.pid_exists,
    ) -> None:
        """Take the devices.

        Args:
            found: The devices of this machine.
            ticker: Says when to look; its own, if none is given.
            exists: Whether a process can be seen from here.
        """
        self._devices = found.devices
        self._absent = found.absent
        self._ticker = ticker or Ticker()
        self._exists = exists
        self._before: dict[tuple[int, float], Sequence[Look]] = {}

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        """Sample until the context ends; the mapping is filled then."""
        seen: dict[str, Series] = {}
        if not self._devices or not pid:
            seen["peak_vram"] = untold(self._absent or "no process stays that holds it")
            yield seen
            return
        looks = [_look_at(device) for device in self._devices]
        before = self._before.setdefault(_identity(pid), looks)
        names = [f"GPU {place}" for place in range(len(self._devices))]
        family = Family(pid)
        gathered = Gathered(names, before, family, self._exists)
        watching = _Watching(self._devices, gathered, family)
        watching.start(looks)
        try:
            with self._ticker.calling(watching.sample):
                yield seen
        finally:
            seen.update(watching.stop())


class _Watching:
    """What was seen while a process is watched."""

    def __init__(self, devices: Sequence[Device], gathered: Gathered, ours: Callable[[int], bool]) -> None:
        self._devices = devices
        self._gathered = gathered
        self._ours = ours
        self._conditions: list[list[Condition]] = []
        self._looks = 0
        self._broken = ""

    def start(self, first: Sequence[Look]) -> None:
        self._gathered.add(first)
        self._note_conditions()

    def sample(self) -> None:
        if self._broken:
            return
        try:
            self._gathered.add(self._look())
            self._looks += 1
            if self._looks % _LOOKS_A_CONDITION == 0:
                self._note_conditions()
        except Exception as error:  # a peak of which a part is missing is none
            self._broken = f"the library failed: {type(error).__name__}: {error}"

    def stop(self) -> dict[str, Series]:
        if self._broken:
            return {"peak_vram": Series((), note=self._broken)}
        self._gathered.add(self._look())
        self._note_conditions()
        figures = self._gathered.figures()
        return {**_memory(self._devices, figures), **_standing(self._conditions, figures)}

    def _look(self) -> list[Look]:
        return [_look_at(device, self._ours) for device in self._devices]

    def _note_conditions(self) -> None:
        self._conditions.append([device.condition() for device in self._devices])


def _identity(pid: int) -> tuple[int, float]:
    """Return what tells a process from a later one with the same id."""
    try:
        return pid, psutil.Process(pid).create_time()
    except psutil.Error:
        return pid, 0.0


def _look_at(device: Device, ours: Callable[[int], bool] | None = None) -> Look:
    """Ask a device; not for all that is in use, where it tells what our own processes take."""
    used, processes, trouble = None, None, ""
    with suppress(UnreadableError):  # else the change of the device has to do
        processes = device.processes()
    if ours is not None and processes is not None and _told(processes, ours):
        return Look(None, processes)
    try:
        used = device.used()
    except UnreadableError as error:
        trouble = str(error)
    return Look(used, processes, trouble)


def _told(processes: Mapping[int, int | None], ours: Callable[[int], bool]) -> bool:
    sizes = [size for pid, size in processes.items() if ours(pid)]
    return bool(sizes) and None not in sizes


def _memory(devices: Sequence[Device], figures: Figures) -> dict[str, Series]:
    if figures.total is None:
        return {"peak_vram": Series((), note=figures.note)}
    listed = {
        f"gpu_{place}_vram": Series((peak,), note=_described(devices[place]))
        for place, peak in figures.by_device.items()
    }
    return {"peak_vram": Series((figures.total,), note=figures.note), **listed}


def _described(device: Device) -> str:
    return f"{device.name}, {device.total / 2**30:.1f} GiB" if device.total else device.name


def _standing(conditions: Sequence[Sequence[Condition]], figures: Figures) -> dict[str, Series]:
    """Return how the devices that were used stood, and what they took."""
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
