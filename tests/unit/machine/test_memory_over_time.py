"""Memory over time: few points of many readings, the ends included."""

from __future__ import annotations

import itertools
import os

import pytest

from pytest_llm.machine.memory.over_time import MOST_POINTS, MemoryOverTime, Points
from pytest_llm.measure.memory import memory_series
from pytest_llm.records import Series, Workload
from pytest_llm.records.metrics import (
    MEMORY_BYTES,
    MEMORY_PHASES,
    MEMORY_SECONDS,
    OVER_TIME,
    VRAM_BYTES,
    VRAM_SECONDS,
)


@pytest.mark.parametrize("count", [1, 2, MOST_POINTS - 1, MOST_POINTS, MOST_POINTS + 1, 1000, 12345])
def test_points_are_few_evenly_spread_and_have_both_ends(count: int) -> None:
    points = Points()
    for number in range(count):
        points.add(float(number), float(number + 1))
    found = points.series(MEMORY_SECONDS, MEMORY_BYTES)
    moments, sizes = found[MEMORY_SECONDS].values, found[MEMORY_BYTES].values
    assert len(moments) <= MOST_POINTS
    assert len(moments) >= min(count, MOST_POINTS // 2)
    assert (moments[0], moments[-1]) == (0.0, count - 1.0)
    assert [each - 1 for each in sizes] == [*moments]
    steps = [after - before for before, after in itertools.pairwise(moments)]
    assert len({*steps[:-1]}) <= 1


def test_without_a_reading_there_is_no_series() -> None:
    assert Points().series(MEMORY_SECONDS, MEMORY_BYTES) == {}


def test_a_process_has_a_resident_set() -> None:
    moments = itertools.count(100.0)
    with MemoryOverTime(clock=lambda: next(moments)).watch(os.getpid()) as seen:
        assert seen == {}
    assert seen[MEMORY_SECONDS].values[0] == 100.0
    assert min(seen[MEMORY_BYTES].values) > 2**20


def test_of_a_process_that_has_ended_nothing_is_told() -> None:
    with MemoryOverTime().watch(2**22 + 1) as seen:
        pass
    assert seen == {}


def test_a_session_has_one_curve_from_the_load_on_with_its_phases() -> None:
    at_load = {MEMORY_SECONDS: Series((50.0, 51.0)), MEMORY_BYTES: Series((1.0, 2.0))}
    at_work = {
        MEMORY_SECONDS: Series((53.0, 54.0, 57.0)),
        MEMORY_BYTES: Series((2.0, 3.0, 3.0)),
        MEMORY_PHASES: Series((2.5,)),
    }
    found = memory_series(at_load, at_work, Workload(), {}, {})
    assert found == {
        MEMORY_SECONDS: Series((0.0, 1.0, 3.0, 4.0, 7.0)),
        MEMORY_BYTES: Series((1.0, 2.0, 2.0, 3.0, 3.0)),
        MEMORY_PHASES: Series((1.0, 3.0, 4.5)),
    }
    assert memory_series({}, at_work, Workload(), {}, {}).keys().isdisjoint(OVER_TIME)


def test_the_memory_of_devices_has_the_same_clock_and_is_left_out_where_it_is_nothing() -> None:
    load, work = (
        {
            MEMORY_SECONDS: Series((begin, begin + 1.0)),
            MEMORY_BYTES: Series((1.0, 2.0)),
            VRAM_SECONDS: Series((begin + 0.25, begin + 0.75)),
            VRAM_BYTES: Series((taken, 2 * taken)),
        }
        for begin, taken in ((50.0, 8.0), (60.0, 16.0))
    )
    found = memory_series(load, work, Workload(), {}, {})
    assert found[VRAM_SECONDS] == Series((0.25, 0.75, 10.25, 10.75))
    assert found[VRAM_BYTES] == Series((8.0, 16.0, 16.0, 32.0))
    load, work = ({**each, VRAM_BYTES: Series((0.0, 0.0))} for each in (load, work))
    assert {VRAM_SECONDS, VRAM_BYTES}.isdisjoint(memory_series(load, work, Workload(), {}, {}))
