"""The measuring context of this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pytest_llm.machine import fingerprint
from pytest_llm.machine.conditions import System
from pytest_llm.machine.noise import find_noise
from pytest_llm.machine.other_load import watch_others
from pytest_llm.machine.probes import all_probes, anonymous_memory
from pytest_llm.measure import MeasurementContext
from pytest_llm.system.coin import toss

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.measure import TimeLimits
    from pytest_llm.records import Control
    from pytest_llm.records.protocols import Clock, Progress


def measurement_context(
    progress: Progress,
    limits: TimeLimits,
    clock: Clock = time.monotonic,
    control: Control | None = None,
) -> MeasurementContext:
    """Return every probe of this machine, a fair coin, and the progress display.

    Args:
        progress: Shows each session.
        limits: Of the campaign's time.
        clock: For budgets.
        control: The speed of the machine now; None if it was not measured.
    """
    return MeasurementContext(
        probe=all_probes(),
        noise=find_noise(fingerprint.own_processes),
        clock=clock,
        progress=progress,
        coin=toss,
        room=fingerprint.available_bytes,
        limits=limits,
        anonymous=anonymous_memory(),
        control=control,
        others=_watch_others,
    )


def _watch_others() -> Callable[[], float | None]:
    share, begun = watch_others(System()), time.monotonic()
    return lambda: share(time.monotonic() - begun)
