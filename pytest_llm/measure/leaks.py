"""What a subject goes on holding while it generates: a pass of its own, untimed, after all sessions.

The context is taken back to the workload's depth after every few tokens, so that no cache grows; what does
grow is never given back.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from pytest_llm.errors import EngineError
from pytest_llm.records import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.records import Workload
    from pytest_llm.records.protocols import Held, Loaded

WATCHING = "watching for leaks"
# The name of the series: bytes held, read after equal numbers of tokens.
SERIES = "held"
# Tokens a sequence between two readings, where the workload has room for as many; readings after the first.
STEPS = 16
READINGS = 32
# What is allocated by the first tokens alone is not what leaks.
_WARM_UP = 2
_NOT_ALWAYS = "what the process holds, or a device for it, was not told at every reading"


def watch_for_leaks(
    workloads: Sequence[Workload],
    start: Callable[[], Loaded],
    held: Held,
    add: Callable[[Workload, dict[str, Series]], None],
    fail: Callable[[Workload, EngineError], None],
    on_progress: Callable[[int, int], None],
) -> None:
    """Watch a fresh process on each of some workloads.

    Args:
        workloads: Of which sessions were measured.
        start: Starts the process; nothing is loaded yet.
        held: Tells what it holds.
        add: Takes in the series of a workload; an empty one where nothing tells what is held.
        fail: Takes in why a workload could not be gone through.
        on_progress: Is told how many readings there are of how many.
    """
    for workload in workloads:
        try:
            with closing(start()) as loaded:
                add(workload, leak_series(loaded, workload, held, on_progress))
        except EngineError as error:
            fail(workload, error)


def leak_series(
    loaded: Loaded, workload: Workload, held: Held, on_progress: Callable[[int, int], None]
) -> dict[str, Series]:
    """Load, rehearse, and read what is held after every few tokens.

    Returns:
        Nothing where no request can be gone through, or nothing tells what is held; an empty series, with the
        reason as its note, where it was told for a while only.

    Raises:
        EngineError: The worker refused, died or hung.
    """
    if not loaded.coverage(workload).requests:
        return {}
    on_progress(0, READINGS)
    loaded.load()
    loaded.rehearse(workload)
    steps = min(STEPS, workload.prompt_tokens + workload.generate_tokens)
    tokens = 0
    for _ in range(_WARM_UP):
        tokens = loaded.generate(steps)
    readings = [held(loaded.pid)]
    for number in range(1, READINGS + 1):
        loaded.generate(steps)
        readings.append(held(loaded.pid))
        on_progress(number, READINGS)
    told = [each for each in readings if each is not None]
    notes = {each.note for each in told}
    if not told:
        return {}
    if len(told) < len(readings) or len(notes) > 1:
        return {SERIES: Series((), tokens, _NOT_ALWAYS)}
    return {SERIES: Series(tuple(each.size for each in told), tokens, notes.pop())}
