"""What a vendor's library tells of its devices, and which vendors are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from pytest_llm.machine.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class UnreadableError(Exception):
    """A device does not tell what it was asked for; the text is the library's own reason."""


class Condition(NamedTuple):
    """How a device stands; None is what it does not tell.

    Attributes:
        clock: Of its processors, in hertz.
        temperature: In degrees Celsius.
        power: In watts.
        energy: In joules since some fixed moment.
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
        """What its vendor calls it, and whose library tells."""

    @property
    def total(self) -> int:
        """Bytes that it has; 0 if it does not tell."""

    def used(self) -> int:
        """Return the bytes that are in use, whoever uses them.

        Raises:
            UnreadableError: It does not tell.
        """

    def processes(self) -> Mapping[int, int | None]:
        """Return the bytes of each process on the device, by its id; None where those are not told.

        Raises:
            UnreadableError: It does not tell who is on it.
        """

    def condition(self) -> Condition:
        """Return how it stands now; never raises."""


class DeviceList(NamedTuple):
    """The devices of a machine.

    Attributes:
        devices: Of all vendors.
        reason: Why there are none; "" if there are.
    """

    devices: tuple[Device, ...]
    reason: str


def find_devices(finders: Sequence[Callable[[], Sequence[Device] | Unavailable]]) -> DeviceList:
    """Return the devices of which a library on this machine tells.

    Args:
        finders: One for each vendor.
    """
    answers = [find() for find in finders]
    devices = [device for found in answers if not isinstance(found, Unavailable) for device in found]
    reasons = [found.reason for found in answers if isinstance(found, Unavailable)]
    return DeviceList(tuple(devices), "" if devices else "; ".join(reasons))
