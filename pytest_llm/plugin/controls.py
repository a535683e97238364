"""The speed of this machine by fixed work, measured once for each number of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.engines import ENGINES
from pytest_llm.errors import LLMBenchError
from pytest_llm.system.registry import load_code

if TYPE_CHECKING:
    from pytest_llm.records import Control, Subject
    from pytest_llm.system.lock import MeasuringLock


class Controls:
    """Measures while no other run does."""

    def __init__(self, lock: MeasuringLock) -> None:
        self._lock = lock
        self._found: dict[tuple[str, int], Control | None] = {}

    def now(self, subject: Subject) -> Control | None:
        """Return the speed of this machine for a subject; None while another run measures."""
        held = self._lock.held
        try:
            self._lock.acquire(0)
        except LLMBenchError:  # said when something is measured
            return None
        try:
            return self.of(subject)
        finally:
            if not held:
                self._lock.release()

    def of(self, subject: Subject) -> Control | None:
        """Return the speed of this machine for the threads of a subject, while this run measures."""
        options, code = subject.load_options, ENGINES[subject.build.engine].control
        key = code, max(options.n_threads, options.n_threads_batch)
        if key not in self._found:
            self._found[key] = load_code(code)(key[1]) if code else None
        return self._found[key]
