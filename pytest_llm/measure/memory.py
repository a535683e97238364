"""Series of one session from what probes saw while its subject loaded and worked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.records import Series
from pytest_llm.records.device_memory import (
    ALLOCATED,
    DEVICE_CHANGE,
    PER_PROCESS,
    REPORTED_BY_GGML,
    NoDeviceLibrary,
)
from pytest_llm.records.metrics import (
    MEMORY_BYTES,
    MEMORY_PHASES,
    MEMORY_SECONDS,
    OVER_TIME,
    VRAM_BYTES,
    VRAM_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import JSON, Workload

VRAM = "peak_vram"
ENERGY = "energy_per_token"
_OF_A_DEVICE = "gpu_"
_PEAK = "peak_"
_ENERGY_OF_A_REQUEST = "energy"
_NOT_ON_A_DEVICE = "nothing of the model lies on a GPU"
# A driver that reports less than this share of llama.cpp's buffers is not that of the model's device.
_LEAST_SEEN = 0.9
# Buffers in the machine's own memory: "CPU", "CPU_REPACK", "CUDA_Host".
_OF_THE_CPU = ("CPU", "AMX", "BLAS")
_OF_THE_HOST = "_Host"
_MIB = 2**20
_ON_DEVICES = VRAM_SECONDS, VRAM_BYTES


def memory_series(
    at_load: Mapping[str, Series],
    at_work: Mapping[str, Series],
    workload: Workload,
    effective_options: Mapping[str, JSON],
    on_devices: Mapping[str, float],
) -> dict[str, Series]:
    """Return the series of a session from its probes: peaks over both stretches, every reading of others.

    Args:
        at_load: Series of the load.
        at_work: Series of one whole request; the energy is that of a warm one.
        workload: Of that request.
        effective_options: With the buffers in llama.cpp's log.
        on_devices: The growth of each device's used memory since before the load, as ggml reports it.
    """
    found = {name: _peak(each, at_work[name]) for name, each in at_load.items() if _is_peak(name, at_work)}
    found |= _over_time(at_load, at_work)
    for name in sorted({*at_load, *at_work} - {_ENERGY_OF_A_REQUEST, *OVER_TIME}):
        if not name.startswith(_PEAK):
            found[name] = _joined(name, [each[name] for each in (at_load, at_work) if name in each])
    if VRAM in found:
        buffers = allocated(effective_options)
        taken = None if buffers is None else sum(buffers.values())
        found[VRAM] = believed(found[VRAM], taken, sum(on_devices.values()))
        sources: dict[str, Mapping[str, float] | None] = {ALLOCATED: buffers, REPORTED_BY_GGML: on_devices}
        by_device = sources.get(found[VRAM].note)
        if by_device is not None:
            found = {name: each for name, each in found.items() if not name.startswith(_OF_A_DEVICE)}
            found |= {f"gpu_{name}_vram": Series((size,)) for name, size in by_device.items() if size}
    energy = at_work.get(_ENERGY_OF_A_REQUEST)
    if energy is not None:
        tokens = workload.parallel * (workload.prompt_tokens + workload.generate_tokens)
        found[ENERGY] = Series((energy.values[0] / tokens,))
    return found


def _over_time(at_load: Mapping[str, Series], at_work: Mapping[str, Series]) -> dict[str, Series]:
    stretches = (at_load, at_work)
    if any(MEMORY_SECONDS not in each for each in stretches):
        return {}
    begun = at_load[MEMORY_SECONDS].values[0]
    loading, working = ([at - begun for at in each[MEMORY_SECONDS].values] for each in stretches)
    generation = at_work[MEMORY_PHASES].values[0] if MEMORY_PHASES in at_work else 0.0
    phases = loading[-1], working[0], max(working[0], working[-1] - generation)
    sizes = tuple(size for each in stretches for size in each[MEMORY_BYTES].values)
    on_devices = [each for each in stretches if VRAM_SECONDS in each]
    moments = [at - begun for each in on_devices for at in each[VRAM_SECONDS].values]
    taken = tuple(size for each in on_devices for size in each[VRAM_BYTES].values)
    devices = {VRAM_SECONDS: _milliseconds(moments), VRAM_BYTES: Series(taken)} if any(taken) else {}
    return {
        **devices,
        MEMORY_SECONDS: _milliseconds((*loading, *working)),
        MEMORY_BYTES: Series(sizes),
        MEMORY_PHASES: _milliseconds(phases),
    }


def _milliseconds(seconds: Sequence[float]) -> Series:
    return Series(tuple(round(each, 3) for each in seconds))


def beside_another(
    own: Mapping[str, Series], alone: Mapping[str, Series], *, first: bool
) -> dict[str, Series]:
    """Return one subject's memory series of a session in which the other subject was loaded as well.

    Memory by process is unaffected by the other subject. Energy and the change of a device are not: they come
    from the first pass, when the subject was alone, and are part of the first session only.

    Args:
        own: Series of the session.
        alone: Series of the first pass.
        first: Whether it is the first session.
    """
    seen = alone.get(VRAM)
    if seen is None or seen.note == PER_PROCESS:
        return {**own, ENERGY: alone[ENERGY]} if first and ENERGY in alone else dict(own)
    kept = {name: each for name, each in own.items() if not _is_of_devices(name) and name not in _ON_DEVICES}
    return kept | {name: each for name, each in alone.items() if first and _is_of_devices(name)}


def believed(seen: Series, buffers: float | None, reported: float) -> Series:
    """Return a peak of VRAM that agrees with llama.cpp's own buffers.

    Args:
        seen: From the probes.
        buffers: Bytes of llama.cpp's buffers on devices; None if its log names no buffers.
        reported: The growth of used device memory since before the load, as ggml reports it.
    """
    peak = seen.values[0] if seen.values else 0.0
    if buffers is None:
        return seen if peak or not seen.values else Series((), note=_NOT_ON_A_DEVICE)
    if not buffers:
        return seen if peak else Series((), note=_NOT_ON_A_DEVICE)
    unseen = isinstance(seen, NoDeviceLibrary)
    if unseen and reported >= _LEAST_SEEN * buffers:
        return Series((reported,), note=REPORTED_BY_GGML)
    if unseen or (seen.values and peak < _LEAST_SEEN * buffers):
        return Series((buffers,), note=ALLOCATED)
    return seen


def allocated(effective_options: Mapping[str, JSON]) -> dict[str, float] | None:
    """Return the bytes of llama.cpp's buffers by device; None if its log names no buffers."""
    buffers = effective_options.get("buffers_mib")
    if not isinstance(buffers, dict) or not buffers:
        return None
    found: dict[str, float] = {}
    for name, size in buffers.items():
        device = name.rpartition(" ")[0]
        if isinstance(size, (int, float)) and not _of_the_machine(device):
            found[device] = found.get(device, 0.0) + size * _MIB
    return found


def _of_the_machine(device: str) -> bool:
    return device.startswith(_OF_THE_CPU) or device.endswith(_OF_THE_HOST)


def _is_peak(name: str, at_work: Mapping[str, Series]) -> bool:
    return name.startswith(_PEAK) and name in at_work


def _is_of_devices(name: str) -> bool:
    return name in (VRAM, ENERGY) or name.startswith(_OF_A_DEVICE)


def _peak(first: Series, second: Series) -> Series:
    for each in (first, second):
        if not each.values:
            return each
    # If the process used the device only at the end, both stretches have the change of the device.
    note = first.note if first.note == second.note else DEVICE_CHANGE
    return Series((max(first.values[0], second.values[0]),), note=note)


def _joined(name: str, found: list[Series]) -> Series:
    values = [value for each in found for value in each.values]
    notes = dict.fromkeys(each.note for each in found if each.note)
    if name.endswith("_vram"):
        values = [max(values)]
    return Series(tuple(values), note=", ".join(notes))
