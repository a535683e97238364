"""Store of model files: fetched once, verified, headers read."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import ModelFetchError, ModelHashError, UnknownNameError, UsageError
from pytest_llm.models.checksums import Hashes, hash_file
from pytest_llm.models.gguf.header import read_header
from pytest_llm.models.sources import Source, parse_source
from pytest_llm.models.sources.local import LocalFile
from pytest_llm.records import Model
from pytest_llm.system.atomic_file import sync
from pytest_llm.system.lock import LockBusyError, folder_lock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.models.catalogue import Entry, LoadOption

_LOCK_SECONDS = 3600.0  # to wait for another process that fetches the same model
_TEMPORARY = ".fetch-"


class ModelStore:
    """Models by name: files in a cache folder, or anywhere by their path.

    Fetched files are in ``models/NAME/PIN/FILE``. PIN is the start of the file's SHA-256, so that projects
    can use one name for different files. ``verified/`` caches hashes. Local files are used in place. Paths
    in names and sources are relative to ``root``.
    """

    def __init__(self, cache: Path, entries: Mapping[str, Entry], root: Path) -> None:
        self._cache = cache.absolute()  # workers and installers may run in other folders
        self._entries = entries
        self._root = root.absolute()
        self._hashes = Hashes(self._cache / "verified")
        self._resolved: dict[str, Model] = {}

    def check(self, name: str) -> None:
        """Check a name or path without fetching anything; raise UsageError or ModelMissingError."""
        if _is_path(name):
            LocalFile.at(name, self._root).in_place()
        else:
            self._source(self._entry(name)).in_place()

    def normalize(self, name: str) -> str:
        """Return the one name of a model: paths below the root are relative to it.

        So the same path in a marker and on the command line is the same subject.
        """
        if not _is_path(name):
            return name
        path = Path(os.path.abspath(self._root / Path(name).expanduser()))  # noqa: PTH100 - links stay
        if not path.is_relative_to(self._root):
            return str(path)
        below = str(path.relative_to(self._root))
        return below if _is_path(below) else f"./{below}"

    def resolve(self, name: str) -> Model:
        """Return the model, fetched if necessary and verified; later calls return it from memory.

        Raises:
            ModelError: If the file is missing, damaged, not the pinned one, or cannot be fetched.
            UsageError: If the name is unknown, or the path or the entry's source is invalid.
        """
        if name not in self._resolved:
            self._resolved[name] = self._resolve(name)
        return self._resolved[name]

    def default_load_options(self, name: str) -> Mapping[str, LoadOption]:
        return {} if _is_path(name) else self._entry(name).load_options

    def _resolve(self, name: str) -> Model:
        if _is_path(name):
            path = LocalFile.at(name, self._root).in_place()
            return self._describe(name, path, self._hashes.sha256(path))
        entry = self._entry(name)
        source = self._source(entry)
        in_place = source.in_place()
        path = in_place or self._fetched(entry, source)
        sha256 = self._hashes.sha256(path)
        if entry.sha256 is not None and sha256 != entry.sha256:
            fix = "put the right file there" if in_place else "delete it to fetch it again"
            raise _wrong_hash(path, sha256, entry, fix)
        return self._describe(name, path, sha256)

    def _describe(self, name: str, path: Path, sha256: str) -> Model:
        header = read_header(path)
        return Model(
            name=name,
            path=str(path),
            sha256=sha256,
            file_bytes=path.stat().st_size,
            architecture=header.architecture,
            quantization=header.quantization,
            parameters=header.parameters,
            layers=header.layers,
            heads=header.heads,
            kv_heads=header.kv_heads,
            embedding_length=header.embedding_length,
            context_length=header.context_length,
            vocabulary_size=header.vocabulary_size,
        )

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            fix = "or give the path of a .gguf file"
            raise UnknownNameError("model", name, self._entries, fix=fix)
        return self._entries[name]

    def _source(self, entry: Entry) -> Source:
        return parse_source(entry.source, self._root)

    def _fetched(self, entry: Entry, source: Source) -> Path:
        if entry.sha256 is None:
            raise UsageError(f"the model {entry.name!r} needs a sha256: its source can change")
        folder = self._cache / "models" / entry.name / entry.sha256[:16]
        path = folder / source.filename
        try:
            # A file under its final name is complete, so a read-only cache is enough.
            if path.is_file():
                return path
            with folder_lock(folder, _LOCK_SECONDS):
                if not path.is_file():
                    self._fetch(entry, source, path)
        except LockBusyError as error:
            raise ModelFetchError(str(error)) from None
        except OSError as error:
            raise ModelFetchError(
                f"{source} cannot be kept in {folder}: {error.strerror or error}; "
                "make the folder writable, or choose another with --llm-cache"
            ) from None
        return path

    def _fetch(self, entry: Entry, source: Source, path: Path) -> None:
        for stale in path.parent.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=_TEMPORARY, dir=path.parent, ignore_cleanup_errors=True
        ) as temporary:
            fetched = Path(temporary, path.name)
            source.fetch(fetched)
            sha256 = hash_file(fetched)
            if sha256 != entry.sha256:
                raise _wrong_hash(source, sha256, entry, "nothing was kept; fetch the right file")
            sync(fetched)
            fetched.replace(path)
            sync(path.parent)
            self._hashes.remember(path, sha256)


def _is_path(name: str) -> bool:
    return "/" in name or os.sep in name or name.lower().endswith(".gguf")


def _wrong_hash(what: object, found: str, entry: Entry, fix: str) -> ModelHashError:
    return ModelHashError(
        f"{what}: its SHA-256 is {found}, but {entry.sha256} is pinned: {fix}, "
        f"or correct sha256 of the model {entry.name!r} in pyproject.toml"
    )
