"""Several requests at once, each in a thread of its own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Answer = TypeVar("Answer")
_PATIENCE = 60.0  # seconds until all threads have begun


def at_once(asks: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """Begin all at the same moment, and return their answers in order.

    Raises:
        Exception: That of the first one that failed; the others have ended.
    """
    start = threading.Barrier(len(asks), timeout=_PATIENCE)

    def ask(each: Callable[[], Answer]) -> Answer:
        start.wait()
        return each()

    with ThreadPoolExecutor(len(asks)) as pool:
        return [each.result() for each in [pool.submit(ask, each) for each in asks]]
