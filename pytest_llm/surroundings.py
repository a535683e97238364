"""What a campaign of two subjects gets from this machine."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from pytest_llm.campaign import Surroundings
from pytest_llm.probes import machine
from pytest_llm.probes.memory import held_memory, memory_probe
from pytest_llm.probes.noise import find_noise

if TYPE_CHECKING:
    from pytest_llm.protocols import Clock, Watcher


def surroundings(watcher: Watcher, patience: float, clock: Clock = time.monotonic) -> Surroundings:
    """Return every probe of this machine, a fair coin, and who is told.

    Args:
        watcher: Is told of each session.
        patience: Seconds after which no further session begins.
        clock: For budgets.
    """
    return Surroundings(
        probe=memory_probe(),
        noise=find_noise(machine.own_processes),
        clock=clock,
        watcher=watcher,
        coin=lambda: random.random() < 0.5,
        room=machine.available_bytes,
        patience=patience,
        held=held_memory(),
    )
