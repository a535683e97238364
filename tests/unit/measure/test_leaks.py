"""What a subject goes on holding while it generates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import WorkerDiedError
from pytest_llm.measure.leaks import READINGS, STEPS, leak_series, readings
from pytest_llm.records import Campaign, Run, Series, Workload
from pytest_llm.records.device_memory import HOST_ALONE, WITH_DEVICES, MemoryReading
from pytest_llm.stats.summary import summarize_all
from tests.bare import MODEL, SUBJECT

from .test_solo import CHAT, DEEP, Machine, PretendedModel, Told, measure_solo

if TYPE_CHECKING:
    from pytest_llm.records import Session

LEAK = "leaked_bytes_per_token"


def run(machine: Machine, *workloads: Workload, leaks: tuple[Workload, ...], per_token: float = 0.0) -> Run:
    """The run of the first workload, of a subject that keeps so many bytes of each generated token."""

    def held(pid: int) -> MemoryReading:
        return MemoryReading(1e8 + per_token * machine.generated, WITH_DEVICES)

    campaign = Campaign(SUBJECT, workloads, 3, leaks=leaks)
    outcomes = measure_solo(campaign, machine, anonymous=held)
    found = outcomes[workloads[0]]
    if isinstance(found, Exception):
        raise found
    return found


def has_readings(session: Session) -> bool:
    return "anonymous_memory" in session.series


def test_the_slope_is_what_is_kept_of_each_token() -> None:
    found = run(Machine(), CHAT, leaks=(CHAT,), per_token=1000.0)
    assert found.measurements[LEAK].value == pytest.approx(1000.0)


@pytest.mark.parametrize("parallel", [1, 4])
def test_every_sequence_s_tokens_count(parallel: int) -> None:
    work = Workload(prompt_tokens=8, generate_tokens=4, parallel=parallel)
    found = run(Machine(), work, leaks=(work,), per_token=100.0)
    assert found.measurements[LEAK].value == pytest.approx(100.0)
    assert (
        found.sessions[-1].series["anonymous_memory"].tokens == 12 * parallel
    )  # the room that the workload has


def test_memory_that_only_the_first_tokens_allocate_is_no_leak() -> None:
    steps: list[int] = []
    held = readings(lambda: steps.append(1), lambda: min(len(steps), 2), READINGS)
    assert set(held) == {2}


def test_a_process_of_its_own_is_watched_after_all_sessions_and_only_once() -> None:
    machine = Machine()
    found = run(machine, CHAT, leaks=(CHAT,))
    assert machine.events == ["start", "close"] * 4
    assert [has_readings(each) for each in found.sessions] == [False, False, True]
    series = found.sessions[-1].series["anonymous_memory"]
    assert (len(series.values), series.tokens, series.note) == (READINGS + 1, STEPS, WITH_DEVICES)


def test_only_the_workloads_that_ask_are_watched() -> None:
    machine = Machine()
    found = run(machine, CHAT, DEEP, leaks=(DEEP,))
    assert LEAK not in found.measurements
    assert machine.events.count("start") == 4


def test_a_worker_that_dies_of_it_fails_the_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(self: PretendedModel, steps: int) -> int:
        raise WorkerDiedError("SIGKILL")

    monkeypatch.setattr(PretendedModel, "generate_steps", die)
    with pytest.raises(WorkerDiedError):
        run(Machine(), CHAT, leaks=(CHAT,))


def test_a_workload_that_failed_is_not_watched() -> None:
    machine = Machine(errors={CHAT: WorkerDiedError("no")})
    with pytest.raises(WorkerDiedError):
        run(machine, CHAT, leaks=(CHAT,))
    assert machine.events == ["start", "close"]


def test_where_nothing_tells_there_are_no_readings() -> None:
    machine = Machine()
    campaign = Campaign(SUBJECT, (CHAT,), 2, leaks=(CHAT,))
    found = measure_solo(campaign, machine)[CHAT]
    assert isinstance(found, Run)
    assert LEAK not in summarize_all(found.sessions)


def test_each_reading_is_told() -> None:
    machine, told = Machine(), Told()
    measure_solo(Campaign(SUBJECT, (CHAT, DEEP), 2, leaks=(DEEP,)), machine, told)
    assert told.looks == [("watching for leaks", number, READINGS) for number in range(READINGS + 1)]


@pytest.mark.parametrize("odd", [None, MemoryReading(5e8, HOST_ALONE)])
def test_a_reading_that_is_not_like_the_others_leaves_none_to_judge_by(odd: MemoryReading | None) -> None:
    machine = Machine()
    readings = iter(
        [MemoryReading(6e8, WITH_DEVICES)] * 9 + [odd] + [MemoryReading(6e8, WITH_DEVICES)] * READINGS
    )
    found = leak_series(machine.start(SUBJECT, MODEL), CHAT, lambda _: next(readings), lambda *_: None)
    reason = "the memory of the process, or of a device for it, could not be read every time"
    assert found == {"anonymous_memory": Series((), STEPS, reason)}
