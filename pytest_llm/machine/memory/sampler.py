"""The thread that samples memory."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERVAL = 0.02  # seconds: a peak of 30 ms is seen, though a look may come late by half as much
_SHARE = 0.008  # of a core: looks become rarer where waking up costs too much, as on some virtual machines
_RAREST = 5  # times the interval


class Ticker:
    """Calls samplers again and again, all from one thread, since waking up costs more than most samples.

    Samplers are added and removed by one thread of the caller.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._samplers: list[Callable[[], None]] = []
        self._calling = threading.Lock()
        self._ended = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def calling(self, sample: Callable[[], None]) -> Iterator[None]:
        """Call a sampler, which must not raise, until the context ends; then no call is running."""
        with self._calling:
            self._samplers.append(sample)
        if self._thread is None:
            self._ended = threading.Lock()
            self._ended.acquire()
            self._thread = threading.Thread(target=self._run, name="llm-memory", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            with self._calling:
                self._samplers.remove(sample)
            if not self._samplers:
                self._ended.release()
                self._thread.join()
                self._thread = None

    def _run(self) -> None:
        began = due = time.monotonic()
        while True:
            now = time.monotonic()
            affordable = began + time.thread_time() / _SHARE
            # A sampler that takes its time gets a rest all the same. Waiting for an event would cost as much
            # as samples do; a lock is as cheap as sleeping.
            due = max(
                due + self._interval,
                now + self._interval / 2,
                min(affordable, now + _RAREST * self._interval),
            )
            if self._ended.acquire(timeout=max(0.0, due - time.monotonic())):
                return
            with self._calling:
                for sample in self._samplers:
                    sample()
