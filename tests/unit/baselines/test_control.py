"""Which metrics follow which speed of the machine."""

from __future__ import annotations

import pytest

from pytest_llm.baselines.control import other_speed, unknown_speed
from pytest_llm.records import Control
from pytest_llm.records.metrics import METRICS

PROMPT = METRICS["prompt_tokens_per_second"]
GENERATION = METRICS["generation_tokens_per_second"]
LOAD = METRICS["load_time"]
RAM = METRICS["peak_ram"]


def control(
    bandwidth: float = 100.0, arithmetic: float = 100.0, threads: int = 2, by: str = "numpy 2.4"
) -> Control:
    return Control(bandwidth, arithmetic, threads, by)


STORED = [control()] * 5


@pytest.mark.parametrize(
    ("now", "prompt", "generation"),
    [
        (control(), "", ""),
        (control(170.0, 170.0), "1.7 times as fast now (arithmetic)", ""),
        (control(bandwidth=50.0), "", "2 times as slow now (memory bandwidth)"),
        (control(arithmetic=80.0), "1.3 times as slow now (arithmetic)", ""),
        (control(180, 125), "1.2 times as fast now (arithmetic)", "1.8 times as fast now (memory bandwidth)"),
    ],
)
def test_a_prompt_follows_arithmetic_and_generation_whichever_bounds_it(
    now: Control, prompt: str, generation: str
) -> None:
    assert other_speed(PROMPT, STORED, now) == (prompt and f"the machine is {prompt}")
    either = generation or prompt
    assert other_speed(GENERATION, STORED, now) == (either and f"the machine is {either}")
    assert other_speed(LOAD, STORED, now) == other_speed(GENERATION, STORED, now)


def test_memory_does_not_depend_on_the_speed_of_the_machine() -> None:
    assert other_speed(RAM, STORED, control(1000.0, 1000.0)) == ""
    assert unknown_speed(RAM, STORED, None) == ""


@pytest.mark.parametrize(
    ("stored", "now", "reason"),
    [
        ([None], None, ""),
        (STORED, control(), ""),
        ([None, *STORED], control(), ""),
        ([None], control(), "not measured each time"),
        (STORED, None, "not measured each time"),
        (STORED, control(by="numpy 3.0"), "measured in another way"),
        (STORED, control(threads=4), "measured in another way"),
    ],
)
def test_what_was_not_compared_is_told(
    stored: list[Control | None], now: Control | None, reason: str
) -> None:
    assert unknown_speed(PROMPT, stored, now) == (
        reason and f"the machine's own speed was not compared: {reason}"
    )
    assert other_speed(PROMPT, stored, now) == ""
