"""Ways to make a build in a folder.

Each keeps the promise of :class:`Recipe`, and has one line in :mod:`pytest_llm.builds.recipes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_llm.builds.archive_lock import ArchiveLock
    from pytest_llm.builds.identity import Identity
    from pytest_llm.records import Build, BuildReference
    from pytest_llm.system.program import Running


class Order(NamedTuple):
    """A build to make: as the user named it, its identity, and what making it may need."""

    reference: BuildReference
    identity: Identity
    archives: ArchiveLock
    made: Callable[[BuildReference], Path]  # the folder of another build, made first if necessary


class Made(NamedTuple):
    """A build that was made."""

    tool: str  # "cmake 3.25.1"
    description: Build | None = None  # how it describes itself, if that is known already
    sha256: str = ""  # of an archive


class Recipe(Protocol):
    """One way."""

    def program(self, folder: Path) -> Path:
        """Return the program of a build that was made in a folder."""

    def is_whole(self, folder: Path) -> bool:
        """Return if the files that a build is used by are still there."""

    def make(self, order: Order, folder: Path, run: Running) -> Made:
        """Make a build in an empty folder.

        Raises:
            BuildError: It failed.
        """
