"""Devices with memory of their own, as their vendors' libraries describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from pytest_llm.machine.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class UnreadableError(Exception):
    """A device does not answer; the text is the library's own reason."""


class Condition(NamedTuple):
    """The condition of a device; None for unknown values.

    Attributes:
        clock: Of its processors, in hertz.
        temperature: In degrees Celsius.
        power: In watts.
        energy: In joules since a fixed moment.
        held_down: What keeps its clocks from being higher.
    """

    clock: float | None = None
    temperature: float | None = None
    power: float | None = None
    energy: float | None = None
    held_down: tuple[str, ...] = ()


class Device(Protocol):
    """One device with memory of its own."""

    @property
    def name(self) -> str:
        """The vendor's name for it, and the library that was asked."""

    @property
    def total(self) -> int:
        """Its bytes; 0 if unknown."""

    def used(self) -> int:
        """Return the bytes in use, by any process.

        Raises:
            UnreadableError: Unknown.
        """

    def processes(self) -> Mapping[int, int | None]:
        """Return the bytes of each process on the device, by its id; None for unknown bytes.

        Raises:
            UnreadableError: The device lists no processes.
        """

    def condition(self) -> Condition:
        """Return its present condition; never raises."""


class DeviceList(NamedTuple):
    """The devices of a machine; ``reason`` says why there are none, and is "" if there are."""

    devices: tuple[Device, ...]
    reason: str


def find_devices(finders: Sequence[Callable[[], Sequence[Device] | Unavailable]]) -> DeviceList:
    """Return the devices that any of the finders, one for each vendor, finds."""
    answers = [find() for find in finders]
    devices = [device for found in answers if not isinstance(found, Unavailable) for device in found]
    reasons = [found.reason for found in answers if isinstance(found, Unavailable)]
    return DeviceList(tuple(devices), "" if devices else "; ".join(reasons))
