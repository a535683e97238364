"""Engines of any build: one that has to be made is made first, and kept for every later run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm import engines
from pytest_llm.builds import BuildStore
from pytest_llm.builds.making import TELLING_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_llm.protocols import Engine, Programs
    from pytest_llm.records import Build, BuildReference

# Far above what importing llama_cpp takes on a busy machine.
_HELLO_SECONDS = 600.0


class Provider:
    """Gives engines, and keeps what they run from being removed until it is closed."""

    def __init__(self, cache: Path, timeout: float) -> None:
        """Remember where builds are kept, and the seconds to wait for each answer; nothing is made yet."""
        self._timeout = timeout
        self._builds = build_store(cache)

    def engine(self, build: BuildReference, tell: Callable[[str], None]) -> Engine:
        """Return what runs a build, which is made if it is a release that is not there yet.

        Args:
            build: Which one.
            tell: Is given a line when there is something to wait for, and now and then.

        Raises:
            EngineError: It could not be made.
        """
        return engines.engine_for(build, self._timeout, self._interpreter(build, tell))

    def describe(self, build: BuildReference, tell: Callable[[str], None]) -> Build:
        """Return what a build says of itself, made first if need be.

        Raises:
            EngineError: It could not be made, or does not start.
        """
        return engines.describe(build, self._timeout, self._interpreter(build, tell))

    def sources(self, build: BuildReference, tell: Callable[[str], None]) -> Programs | None:  # noqa: ARG002
        """Return the sources that a build was made of, and more programs of them; None where it has none."""
        return None

    def close(self) -> None:
        """Let builds be removed."""
        self._builds.close()

    def _interpreter(self, build: BuildReference, tell: Callable[[str], None]) -> str:
        return self._builds.ready(build, tell) if build.kind == "release" else ""


def build_store(cache: Path, telling: float = TELLING_SECONDS) -> BuildStore:
    """Return the builds that a cache folder keeps; one that is made tells of it every so many seconds."""

    def describe(build: BuildReference, interpreter: str) -> Build:
        return engines.describe(build, _HELLO_SECONDS, interpreter)

    return BuildStore(cache, describe, telling)
