"""Going through the workloads of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.errors import RequestFailedError, WorkerDiedError, WorkerHungError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.errors import EngineError
    from pytest_llm.records import Workload


def through(
    waiting: list[Workload],
    work: Callable[[Workload], None],
    fail: Callable[[Workload, EngineError], None],
) -> None:
    """Take workloads off the list and work on each.

    One that is refused costs itself alone. One that ends its process ends this, too: the rest of the list
    needs a new process.

    Args:
        waiting: In order; what is left in the end was not tried.
        work: Measures one.
        fail: Takes in why one could not be measured.
    """
    while waiting:
        workload = waiting.pop(0)
        try:
            work(workload)
        except RequestFailedError as error:
            fail(workload, error)
        except (WorkerDiedError, WorkerHungError) as error:
            fail(workload, error)
            return
