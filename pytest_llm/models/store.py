"""Store of model files: fetched once, verified, headers read."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import (
    LLMBenchError,
    ModelFetchError,
    ModelHashError,
    ModelMissingError,
    ModelPartsError,
    UnknownNameError,
    UsageError,
)
from pytest_llm.models.catalogue import Entry
from pytest_llm.models.checksums import Hashes, combined, hash_file
from pytest_llm.models.gguf.parts import part_names, part_paths, read_model
from pytest_llm.models.naming import is_path, refuse_elsewhere, unpinned
from pytest_llm.models.opened import open_file, unchanged
from pytest_llm.models.progress import silent
from pytest_llm.models.sources import Source, is_named, parse_source
from pytest_llm.models.sources.hub import HubFile
from pytest_llm.models.sources.limits import Limit
from pytest_llm.models.sources.local import LocalFile
from pytest_llm.records import Model
from pytest_llm.system.atomic_file import sync
from pytest_llm.system.folders import NoCacheError, expanded
from pytest_llm.system.lock import LockBusyError, folder_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_llm.models.catalogue import LoadOption
    from pytest_llm.models.gguf.header import Header
    from pytest_llm.models.progress import Show
    from pytest_llm.records.subject import OpenedFile

_LOCK_SECONDS = 3600.0  # to wait for another process that fetches the same model
_TEMPORARY = ".fetch"


class ModelStore:
    """Models by name: files in a cache folder, or anywhere by their path.

    Fetched files are in ``models/NAME/PIN/FILE``. PIN is the start of the model's SHA-256, so that projects
    can use one name for different files. A split model is named by its first part and is whole only with all
    of them. Local files are used in place. Paths in names and sources are relative to ``root``.

    The files of a resolved model stay open as long as its record is there.
    """

    def __init__(
        self,
        cache: Path | None,
        entries: Mapping[str, Entry],
        root: Path,
        *,
        trusts_cache: bool = False,
        show: Show = silent,
    ) -> None:
        """Name the folders; without a cache, names are checked and nothing is resolved.

        Args:
            cache: The folder.
            entries: Models by name.
            root: Of relative paths.
            trusts_cache: Believe the hashes of unchanged files that other runs stored in ``verified/``.
            show: Takes lines of progress while a model is fetched or hashed.
        """
        self._known_cache = cache and cache.absolute()  # workers and installers may run in other folders
        self._entries = entries
        self._root = root.absolute()
        self._trusts_cache = trusts_cache
        self._show = show
        self._resolved: dict[str, Model] = {}

    @property
    def _cache(self) -> Path:
        if self._known_cache is None:
            raise NoCacheError
        return self._known_cache

    @cached_property
    def _hashes(self) -> Hashes:
        return Hashes(self._cache / "verified", trusted=self._trusts_cache)

    def has(self, name: str) -> bool:
        """Return if a name is that of an entry."""
        return name in self._entries

    def is_same(self, other: ModelStore, name: str) -> bool:
        """Return if an entry of this name has the same SHA-256 in another store."""
        sha256 = self._entries[name].sha256
        return sha256 is not None and sha256 == other._entries[name].sha256

    def check(self, name: str) -> None:
        """Check a name or path without fetching anything; raise UsageError or ModelMissingError."""
        if is_path(name):
            self._local(name)
            return
        entry = self._entry(name)
        if self._source(entry).in_place() is None and is_named(name):
            raise ModelMissingError(unpinned(name))

    def normalize(self, name: str) -> str:
        """Return the one name of a model: paths below the root are relative to it.

        So the same path in a marker and on the command line is the same subject.
        """
        if not is_path(name):
            return name
        path = Path(os.path.abspath(self._root / expanded(name)))  # noqa: PTH100 - links stay
        if not path.is_relative_to(self._root):
            return str(path)
        below = str(path.relative_to(self._root))
        return below if is_path(below) else f"./{below}"

    def resolve(self, name: str) -> Model:
        """Return the model, fetched if necessary and hashed; later calls check that its files are the same.

        Raises:
            ModelError: If the file is missing, damaged, not the pinned one, or cannot be fetched; or if it
                changed since the first call.
            UsageError: If the name is unknown, or the path or the entry's source is invalid.
        """
        known = self._resolved.get(name)
        model = replace(known, opened=unchanged(known.opened)) if known else self._resolve(name)
        self._resolved[name] = model
        return model

    def pin(self, name: str, text: str) -> Entry:
        """Return an entry for a source with the hash of its file, which is fetched and kept if necessary.

        Raises:
            ModelError: The file is missing, or cannot be fetched.
            UsageError: The source has another form than those that there are.
        """
        source = parse_source(text, self._root)
        path = source.in_place()
        if path is None:
            path = self._fetched_unpinned(name, source)
        found = self._opened(name, path)
        exact = source.exact() if isinstance(source, HubFile) else source
        written = text if exact == source else str(exact)
        return Entry(name, written, found.sha256, size=found.file_bytes)

    def _fetched_unpinned(self, name: str, source: Source) -> Path:
        """Fetch a file whose hash is not known; the next call finds it where its pin says."""
        base = self._cache / "models" / name
        base.mkdir(parents=True, exist_ok=True)
        names = part_names(source.filename)
        limit = Limit(show=lambda line: self._show(f"{name}: {line}"))
        with folder_lock(base, _LOCK_SECONDS), _temporary(base) as temporary:
            fetched = [self._fetched_file(source, each, temporary, limit) for each in names]
            sha256 = combined([hash_file(each, self._show) for each in fetched])
            folder = base / sha256[:16]
            folder.mkdir(exist_ok=True)
            for each in fetched:
                each.replace(folder / each.name)
            sync(folder)
        return folder / names[0]

    def header(self, name: str) -> tuple[int, Header] | None:
        """Return the bytes and the header of a model that needs no fetching; None if it cannot be read."""
        entry = self._entry(name) if is_named(name) else None if is_path(name) else self._entries.get(name)
        try:
            path = self._local(name) if entry is None else self._here(entry)
            if path is not None:
                return sum(each.stat().st_size for each in part_paths(path)), read_model(path)
        except (LLMBenchError, OSError):
            pass  # what is wrong with it is said when it is measured
        return None

    def is_here(self, name: str) -> bool:
        """Return if a model's file needs no fetching; it may be another one than is pinned."""
        try:
            return is_path(name) or self._here(self._entry(name)) is not None
        except ModelMissingError:
            return False

    def _here(self, entry: Entry) -> Path | None:
        """Return the file of an entry if it needs no fetching."""
        source = self._source(entry)
        in_place = source.in_place()
        if in_place or entry.sha256 is None or self._known_cache is None:
            return in_place
        fetched = self._cache / "models" / entry.name / entry.sha256[:16] / source.filename
        return fetched if fetched.is_file() else None

    def default_load_options(self, name: str) -> Mapping[str, LoadOption]:
        return {} if is_path(name) else self._entry(name).load_options

    def _resolve(self, name: str) -> Model:
        if is_path(name):
            return self._opened(name, self._local(name))
        entry = self._entry(name)
        source = self._source(entry)
        in_place = source.in_place()
        if in_place is None and is_named(name):
            raise ModelMissingError(unpinned(name))
        fix = "put the right file there" if in_place else "delete it to fetch it again"
        return self._opened(name, in_place or self._fetched(entry, source), entry, fix)

    def _opened(self, name: str, path: Path, entry: Entry | None = None, fix: str = "") -> Model:
        """Return the model of a file that is opened first, and has the pin of an entry."""
        parts = part_paths(path)
        if len(parts) > 1:
            read_model(path)  # names missing parts before any of them is read whole
        opened = tuple(self._hashes.hashed(each, open_file(each), self._show) for each in parts)
        sha256 = combined([each.sha256 for each in opened])
        if entry and entry.sha256 not in (None, sha256):
            if opened[0].sha256 == entry.sha256:
                fix = "that is the hash of its first part"
            raise _wrong_hash(path, sha256, len(opened), entry, fix)
        return _described(name, path, sha256, opened)

    def _local(self, name: str) -> Path:
        file = LocalFile.at(name, self._root)
        refuse_elsewhere(name, file)
        return file.in_place()

    def _entry(self, name: str) -> Entry:
        if is_named(name):
            return Entry(name, name, None)
        if name not in self._entries:
            refuse_elsewhere(name)
            table = f"[tool.pytest_llm.models] of {self._root / 'pyproject.toml'}"
            fix = f"add it to {table}, or give the path of a .gguf file"
            raise UnknownNameError("model", name, self._entries, fix=fix)
        return self._entries[name]

    def _source(self, entry: Entry) -> Source:
        return parse_source(entry.source, self._root)

    def _fetched(self, entry: Entry, source: Source) -> Path:
        if entry.sha256 is None:
            raise UsageError(f"the model {entry.name!r} needs a sha256: its source can change")
        folder = self._cache / "models" / entry.name / entry.sha256[:16]
        names = part_names(source.filename)
        if names[0] != source.filename:
            raise ModelPartsError(
                f"{source}: it is a later part of a split model: name the first, {names[0]}"
            )
        paths = part_paths(folder / source.filename)
        try:
            # A file under its final name is complete, so a read-only cache is enough.
            if all(each.is_file() for each in paths):
                return paths[0]
            with folder_lock(folder, _LOCK_SECONDS):
                if not all(each.is_file() for each in paths):
                    self._fetch(entry, source, paths)
        except LockBusyError as error:
            raise ModelFetchError(str(error)) from None
        except OSError as error:
            raise ModelFetchError(
                f"{source} cannot be kept in {folder}: {error.strerror or error}; "
                "make the folder writable, or choose another with --llm-cache"
            ) from None
        return paths[0]

    def _fetch(self, entry: Entry, source: Source, paths: Sequence[Path]) -> None:
        folder = paths[0].parent
        with _temporary(folder) as temporary:
            limit = Limit(entry.size, declared=True) if entry.size else Limit()
            limit = limit._replace(show=lambda line: self._show(f"{entry.name}: {line}"))
            hashes = []
            for path in paths:
                fetched = self._fetched_file(source, path.name, temporary, limit)
                hashes.append(hash_file(fetched, self._show))
                if entry.size:
                    limit = limit._replace(size=limit.size - fetched.stat().st_size)
            sha256 = combined(hashes)
            if sha256 != entry.sha256:
                fix = "nothing was kept; fetch the right file"
                shutil.rmtree(temporary)
                raise _wrong_hash(source, sha256, len(paths), entry, fix)
            for path in paths:
                (temporary / path.name).replace(path)
                sync(folder)

    def _fetched_file(self, source: Source, name: str, folder: Path, limit: Limit) -> Path:
        fetched, part = folder / name, folder / f"{name}.part"
        if not fetched.exists():  # it is there, whole, if an earlier call ended at a later part
            if not part.with_name(f"{part.name}.etag").exists():
                part.unlink(missing_ok=True)
            (source if name == source.filename else source.beside(name)).fetch(part, limit)
            sync(part)
            part.replace(fetched)
        return fetched


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """Provide a folder for files that are fetched; what a source can go on with stays for the next call."""
    temporary = folder / _TEMPORARY
    for stale in folder.glob(f"{_TEMPORARY}-*"):  # of older versions
        shutil.rmtree(stale, ignore_errors=True)
    temporary.mkdir(exist_ok=True)
    try:
        yield temporary
    except BaseException:
        if not any(temporary.glob("*.etag")):
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(temporary, ignore_errors=True)


def _described(name: str, path: Path, sha256: str, opened: tuple[OpenedFile, ...]) -> Model:
    header = read_model(path, {Path(each.path): each.descriptor for each in opened})
    return Model(
        name=name,
        path=str(path),
        sha256=sha256,
        file_bytes=sum(os.fstat(each.descriptor).st_size for each in opened),
        parts=len(opened),
        architecture=header.architecture,
        quantization=header.quantization,
        parameters=header.parameters,
        layers=header.layers,
        heads=header.heads,
        kv_heads=header.kv_heads,
        embedding_length=header.embedding_length,
        context_length=header.context_length,
        vocabulary_size=header.vocabulary_size,
        unknown_types=header.unknown_types,
        opened=opened,
    )


def _wrong_hash(what: object, found: str, parts: int, entry: Entry, fix: str) -> ModelHashError:
    of_parts = f" over its {parts} parts" if parts > 1 else ""
    return ModelHashError(
        f"{what}: its SHA-256{of_parts} is {found}, but {entry.sha256} is pinned: {fix}, "
        f"or correct sha256 of the model {entry.name!r} in pyproject.toml"
    )
