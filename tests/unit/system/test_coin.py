"""The coin that decides every order."""

from __future__ import annotations

import random

from pytest_llm.checks.operators.profile import ProfilingContext
from pytest_llm.machine import environment
from pytest_llm.system.coin import toss


def tosses() -> list[bool]:
    random.seed(0)
    return [toss() for _ in range(128)]


def test_a_seed_repeats_nothing_and_both_sides_come_up() -> None:
    first, again = tosses(), tosses()
    assert first != again
    assert 20 < sum(first) < 108  # a fair coin misses this once in 10¹⁵ runs


def test_it_is_the_one_that_orders_what_is_measured() -> None:
    assert environment.toss is toss  # type: ignore[attr-defined]
    assert ProfilingContext.coin is toss
