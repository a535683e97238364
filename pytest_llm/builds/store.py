"""Store of builds in a cache folder: found, made and removed under locks."""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_llm.builds import locks, manifest
from pytest_llm.builds.commit import tree_in
from pytest_llm.builds.identity import identity_of
from pytest_llm.builds.manifest import Manifest
from pytest_llm.builds.recipe import Order
from pytest_llm.builds.recipes import recipe_of
from pytest_llm.errors import BuildError, EngineError
from pytest_llm.records import Archive, Commit
from pytest_llm.system.lock import FileLock
from pytest_llm.system.program import PROGRESS_SECONDS, Running

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.builds.archive_lock import ArchiveLock
    from pytest_llm.builds.commit import SourceTree
    from pytest_llm.builds.identity import Identity
    from pytest_llm.records import Build, BuildReference

    Describe = Callable[[BuildReference, str], Build]
    OnProgress = Callable[[str], None]


class StoredBuild(NamedTuple):
    """A folder of the store; "unfinished" was left by a maker that ended."""

    folder: Path
    state: Literal["ready", "unfinished", "being made"]
    manifest: Manifest | None  # None unless it is ready
    bytes: int


class BuildStore:
    """Builds in ``builds/`` of a cache: a folder for each, with a log and a lock beside it.

    A folder is a build if it has a manifest, which is written last and removed first.
    """

    def __init__(
        self,
        cache: Path,
        describe: Describe,
        archives: ArchiveLock,
        progress_seconds: float = PROGRESS_SECONDS,
    ) -> None:
        self.folder = cache.absolute() / "builds"
        self._describe = describe
        self._archives = archives
        self._progress_seconds = progress_seconds
        self._in_use: dict[Identity, FileLock] = {}
        self._failed: dict[Identity, EngineError] = {}

    def ready(self, reference: BuildReference, on_progress: OnProgress) -> str:
        """Return the program of a build, made first if necessary, and safe from removal until ``close``.

        A release's program is its interpreter or its server; a commit's is its llama-bench, with the
        libraries beside it; an archive's is its server. A build that could not be made is not tried again.

        Raises:
            EngineError: It could not be made, or does not start; or its archive is not what it was.
            UsageError: It is not made here.
        """
        identity = identity_of(reference)
        if identity in self._failed:
            raise self._failed[identity]
        try:
            while identity not in self._in_use:
                self.make(reference, on_progress)
                self._use(identity, on_progress)
        except EngineError as error:
            self._failed[identity] = error
            raise
        return str(recipe_of(identity).program(self._of(identity)))

    def tree(self, reference: BuildReference, on_progress: OnProgress) -> SourceTree | None:
        """Return the sources of a commit, made as by ``ready``; None of any other kind of build."""
        if not isinstance(reference, Commit):
            return None
        self.ready(reference, on_progress)
        identity = identity_of(reference)
        return tree_in(self._of(identity), identity)

    def make(self, reference: BuildReference, on_progress: OnProgress) -> Manifest:
        """Return the manifest of a build, made first if necessary; raises as ``ready``."""
        identity = identity_of(reference)
        found = self._trusted(identity) or self._made_alone(reference, identity, on_progress)
        if isinstance(reference, Archive):
            self._archives.check(reference.url, found.sha256)
        return found

    def close(self) -> None:
        while self._in_use:
            self._in_use.popitem()[1].release()

    def kept(self) -> list[StoredBuild]:
        if not self.folder.is_dir():
            return []
        return [self._seen(each) for each in sorted(self.folder.iterdir()) if each.is_dir()]

    def remove(self, kept: StoredBuild) -> None:
        """Remove a build, or an unfinished one; ``BuildError`` if it is being made or in use."""
        lock = self._lock_of(kept.folder)
        with locks.exclusive(lock, kept.folder.name, lambda _: None, patience=0):
            _clear(kept.folder)
            # The log, and what was fetched of an archive.
            for each in self.folder.glob(f"{kept.folder.name}.*"):
                if each != lock:
                    each.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)

    def _use(self, identity: Identity, on_progress: OnProgress) -> None:
        path = self._beside(identity, ".lock")
        lock = locks.BuildLock(path, identity.title, shared=True)
        # Nothing can be removed from a read-only cache.
        if os.access(self.folder, os.W_OK) or path.exists():
            lock.acquire(locks.PATIENCE, on_progress)
        if lock.held and self._trusted(identity) is None:  # removed since it was made
            lock.release()
            return
        self._in_use[identity] = lock

    def _made_alone(self, reference: BuildReference, identity: Identity, on_progress: OnProgress) -> Manifest:
        """Make a build unless another process has made it meanwhile."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locks.exclusive(self._beside(identity, ".lock"), identity.title, on_progress) as lock:
                return self._trusted(identity) or self._made(reference, lock, on_progress)
        except OSError as error:
            raise BuildError(
                f"{reference} cannot be stored in {self.folder}: {error.strerror or error}; make the "
                "folder writable, free some space, or name another cache"
            ) from None

    def _made(self, reference: BuildReference, lock: int, on_progress: OnProgress) -> Manifest:
        identity = identity_of(reference)
        folder = self._of(identity)
        started = time.monotonic()
        on_progress(f"building {identity.title}: usually takes minutes")
        _clear(folder)
        folder.mkdir()
        try:
            run = Running(
                identity.title, self._beside(identity, ".log"), lock, on_progress, self._progress_seconds
            )
            recipe = recipe_of(identity)

            def folder_of(other: BuildReference) -> Path:
                self.ready(other, on_progress)
                return self._of(identity_of(other))

            made = recipe.make(Order(reference, identity, self._archives, folder_of), folder, run)
            description = made.description or self._describe(reference, str(recipe.program(folder)))
            ended = datetime.now(timezone.utc).isoformat(timespec="seconds")
            seconds = round(time.monotonic() - started, 1)
            found = Manifest(identity, description, ended, seconds, made.tool, made.sha256)
            os.sync()  # after a power cut, a manifest must not be there without its build
            manifest.write(folder, found)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return found

    def _trusted(self, identity: Identity) -> Manifest | None:
        folder, recipe = self._of(identity), recipe_of(identity)
        found = manifest.read(folder)
        if found is None or not recipe.is_whole(folder):
            return None
        # An interpreter that an update removed leaves a dangling link.
        return found if os.access(recipe.program(folder), os.X_OK) else None

    def _seen(self, folder: Path) -> StoredBuild:
        found = manifest.read(folder)
        if found is not None:
            return StoredBuild(folder, "ready", found, _bytes_in(folder))
        free = FileLock(self._lock_of(folder), shared=True).is_free()
        return StoredBuild(folder, "unfinished" if free else "being made", None, _bytes_in(folder))

    def _of(self, identity: Identity) -> Path:
        return self.folder / identity.key

    def _beside(self, identity: Identity, suffix: str) -> Path:
        return self.folder / f"{identity.key}{suffix}"

    def _lock_of(self, folder: Path) -> Path:
        return self.folder / f"{folder.name}.lock"


def _clear(folder: Path) -> None:
    manifest.remove(folder)
    if folder.exists():
        shutil.rmtree(folder)


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(Path(place, name)).st_size
            except OSError:  # removed meanwhile
                continue
    return total
