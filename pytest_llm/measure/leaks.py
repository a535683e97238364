"""Readings of allocated memory while a subject generates, in an untimed process after all sessions.

The context is reset to the workload's depth after every few tokens, so that no cache grows; what does grow is
never given back.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from pytest_llm.errors import EngineError
from pytest_llm.records import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_llm.records import Workload
    from pytest_llm.records.device_memory import MemoryReading
    from pytest_llm.records.protocols import AnonymousReader, Loaded

WATCHING = "watching for leaks"
# The name of the series: bytes allocated, read after equal numbers of tokens.
SERIES = "anonymous_memory"
# Tokens a sequence between two readings, if the workload has room for them; readings after the first.
STEPS = 16
READINGS = 32
# Memory that only the first tokens allocate is no leak.
_WARM_UP = 2
_INCOMPLETE = "the memory of the process, or of a device for it, could not be read every time"

Reading = TypeVar("Reading")


def watch_for_leaks(
    workloads: Sequence[Workload],
    start: Callable[[], Loaded],
    anonymous: AnonymousReader,
    add: Callable[[Workload, dict[str, Series]], None],
    fail: Callable[[Workload, EngineError], None],
    on_progress: Callable[[int, int], None],
) -> None:
    """Watch a fresh process on each workload.

    Args:
        workloads: Those with sessions.
        start: Starts the process; nothing is loaded yet.
        anonymous: Reads the memory that it has allocated.
        add: Takes the series of a workload; none if no memory can be read.
        fail: Takes the error of a workload.
        on_progress: Takes the readings made, and how many there will be.
    """
    for workload in workloads:
        try:
            with closing(start()) as loaded:
                add(workload, leak_series(loaded, workload, anonymous, on_progress))
        except EngineError as error:
            fail(workload, error)


def leak_series(
    loaded: Loaded, workload: Workload, anonymous: AnonymousReader, on_progress: Callable[[int, int], None]
) -> dict[str, Series]:
    """Load, rehearse, and read the allocated memory after every few tokens.

    Returns:
        Nothing if the engine serves no requests or no memory can be read; an empty series with a note if some
        readings are missing.

    Raises:
        EngineError: The worker refused, died or hung.
    """
    if not loaded.coverage(workload).requests:
        return {}
    on_progress(0, READINGS)
    loaded.load()
    coverage = loaded.coverage(workload)  # only a loaded model tells
    if not (coverage.requests and coverage.slices and loaded.pid):
        return {}
    loaded.rehearse(workload)
    steps = min(STEPS, workload.prompt_tokens + workload.generate_tokens)
    tokens = steps * workload.parallel
    found: list[MemoryReading | None] = []
    for reading in readings(lambda: loaded.generate_steps(steps), lambda: anonymous(loaded.pid), READINGS):
        found.append(reading)
        if len(found) > 1:
            on_progress(len(found) - 1, READINGS)
    read = [each for each in found if each is not None]
    notes = {each.note for each in read}
    if not read:
        return {}
    if len(read) < len(found) or len(notes) > 1:
        return {SERIES: Series((), tokens, _INCOMPLETE)}
    return {SERIES: Series(tuple(each.size for each in read), tokens, notes.pop())}


def readings(step: Callable[[], object], read: Callable[[], Reading], steps: int) -> Iterator[Reading]:
    """Yield a reading after warming up, then one after each of so many equal steps."""
    for _ in range(_WARM_UP):
        step()
    yield read()
    for _ in range(steps):
        step()
        yield read()
