"""Thread check: the environment silently leaves fewer threads at work than the load options ask for."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.engines.environment import FEWER_THREADS, settings
from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.system.cgroups import cpu_groups, quota_processors

if TYPE_CHECKING:
    from pytest_llm.records import Build, LoadOptions

_LIMIT = "OMP_THREAD_LIMIT"
# Of ``llama_print_system_info``.
_OPENMP = "OPENMP = 1"


class ThreadCheck:
    """The threads that one subject asks for, compared with those that work."""

    def __init__(self, options: LoadOptions) -> None:
        self._options = options

    def check_environment(self, build: Build) -> None:
        """Raise if a variable forbids the threads that were asked for.

        Raises:
            LoadRefusedError: OpenMP may not give so many.
        """
        asked = max(self._options.n_threads, self._options.n_threads_batch)
        limit = build.environment.get(_LIMIT, "").strip()
        if limit.isdigit() and 0 < int(limit) < asked:
            raise LoadRefusedError(self._text(build, int(limit), asked))

    def can_be_counted(self, build: Build) -> bool:
        """True if the threads of a build stay between two decodes."""
        return _OPENMP in build.compiled_with

    def check_counted(self, build: Build, asked: int, threads: int, processors: int) -> None:
        """Raise if fewer threads worked than were asked for.

        Args:
            build: The build, for messages.
            asked: How many were to work.
            threads: How many worked.
            processors: How many processors these threads may use together.

        Raises:
            RequestFailedError: They are too few, or bound to fewer processors than this process may use.
        """
        working = min(threads, processors) if processors < len(_affinity()) else threads
        if working < asked:
            raise RequestFailedError(self._text(build, working, asked))

    def at_once(self) -> float:
        """Return how many of the threads affinity and CPU quota let work at once.

        Both are this process's own, which an engine's process inherits: there, OpenMP may have bound each
        thread to one processor. A machine that has fewer processors than threads takes none away.
        """
        asked = max(self._options.n_threads, self._options.n_threads_batch)
        quota = quota_processors(cpu_groups(Path("/")))
        allowed = len(_affinity())
        bound = 0 < allowed < (os.cpu_count() or 0)
        return min(asked, allowed if bound else asked, asked if quota is None else quota)

    def _text(self, build: Build, working: int, asked: int) -> str:
        number = f"{working} thread{'s work' if working != 1 else ' works'}"
        cause = settings(build.environment, FEWER_THREADS)
        return f"{build}: {number} where n_threads={asked} asks for {asked}: " + (
            f"{cause} is set in the environment; unset it, or ask for n_threads={working}"
            if cause
            else f"the library was not given more; ask for n_threads={working}"
        )


def _affinity() -> set[int]:
    """Return the processors that this process may use; none where the system does not tell."""
    with suppress(OSError, AttributeError):
        return os.sched_getaffinity(0)
    return set()
