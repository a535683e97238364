"""Whom a device is asked for, and when."""

from __future__ import annotations

import itertools
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

from pytest_llm.machine.gpu.device import Condition, DeviceList, UnreadableError
from pytest_llm.machine.gpu.sampler import DeviceMemory

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pytest_llm.machine.memory.sampler import Ticker

MINE = os.getpid()


class ByHand:
    """A ticker that ticks when the test says so."""

    def __init__(self) -> None:
        self.tick: Callable[[], None] = lambda: None

    def calling(self, sample: Callable[[], None]) -> AbstractContextManager[None]:
        self.tick = sample
        return nullcontext()


class Card:
    """A device that counts how often it is asked who is on it."""

    name, total = "Card", 0

    def __init__(self, *, tells: bool = True) -> None:
        self.mine = 500
        self.asked = 0
        self.tells = tells

    def used(self) -> int:
        if not self.tells:
            raise UnreadableError("not available")
        return 100 + self.mine

    def processes(self) -> dict[int, int | None]:
        self.asked += 1
        return {MINE: self.mine}

    def condition(self) -> Condition:
        return Condition()


def peak(card: Card, *sizes: int) -> float:
    """Watch while the process holds these sizes, one after another."""
    ticker = ByHand()
    with DeviceMemory(DeviceList((card,), ""), cast("Ticker", ticker)).watch(MINE) as seen:
        card.asked = 0
        for card.mine in sizes:
            ticker.tick()
        asked = card.asked
    card.asked = asked
    (value,) = seen["peak_vram"].values
    return value


def test_who_holds_what_is_asked_only_where_something_changed() -> None:
    card = Card()
    assert peak(card, 500, 500, 700, 700, 700, 500, 500) == 700
    assert card.asked == 3


def test_a_device_that_does_not_tell_what_is_in_use_is_asked_each_time() -> None:
    card = Card(tells=False)
    assert peak(card, 500, 500, 700, 500) == 700
    assert card.asked == 4


def test_what_a_process_holds_is_told_over_time() -> None:
    card, ticker, seconds = Card(), ByHand(), itertools.count(10.0)
    memory = DeviceMemory(DeviceList((card,), ""), cast("Ticker", ticker), clock=lambda: next(seconds))
    with memory.watch(MINE) as seen:
        for card.mine in (600, 600, 800):
            ticker.tick()
    assert seen["vram_seconds"].values == (10.0, 11.0, 12.0, 13.0)  # one more at the end
    assert seen["vram_bytes"].values == (500.0, 600.0, 800.0, 800.0)
