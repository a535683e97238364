"""The files of one folder, one for each test module: read, cached, and changed under a lock."""

from __future__ import annotations

import itertools
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from pytest_llm.baselines import file_format
from pytest_llm.baselines.io import changing, read
from pytest_llm.baselines.records import VERSION, Refusal, Updated
from pytest_llm.errors import BaselineError
from pytest_llm.records import TestKey
from pytest_llm.system import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pytest_llm.baselines.merge import Merged
    from pytest_llm.baselines.reconcile import Conflict, Side
    from pytest_llm.baselines.records import Mode
    from pytest_llm.records import JSON
    from pytest_llm.records.serialization import Document

Recorded = TypeVar("Recorded")

_SUFFIX = ".json"
_LONGEST_MODULE, _LONGEST_NAME = 1000, 200


class Merge(Protocol[Recorded]):
    """Adds a new record to the stored one of the same test."""

    def __call__(
        self, key: TestKey, stored: Recorded | None, new: Recorded, mode: Mode, /
    ) -> Merged[Recorded]:
        """Return the record to store, the names written, and what was refused."""


class Moved(NamedTuple):
    """The new keys of tests that were moved, and why what is stored of both keys cannot become one."""

    keys: tuple[TestKey, ...]
    conflicts: tuple[Conflict, ...]


class Reconcile(Protocol[Recorded]):
    """Joins two records of one test."""

    def __call__(
        self, ours: Recorded, theirs: Recorded, prefer: Side | None = None, *, renamed: bool = False
    ) -> tuple[Recorded, list[Conflict]]:
        """Return one record, and what cannot be decided."""


class ModuleFiles(Generic[Recorded]):
    """The files of one folder, all of one kind.

    Attributes:
        folder: Where they are; need not exist.
    """

    def __init__(
        self,
        folder: Path,
        document: Document[Any],
        merge: Merge[Recorded],
        reconcile: Reconcile[Recorded],
        machine: Mapping[str, JSON] | None = None,
    ) -> None:
        """Remember the folder; nothing is read or made yet.

        Args:
            folder: Where the files are.
            document: Their kind.
            merge: Adds a new record of a test to the stored one.
            reconcile: Joins two stored records of a test.
            machine: What files must say of their machine; None if they say nothing, or anything is fine.
        """
        self.folder = folder
        self._document = document
        self._merge = merge
        self._reconcile = reconcile
        self._machine = machine
        self._cached: dict[str, tuple[object, dict[TestKey, Recorded] | None]] = {}

    def path(self, module: str) -> Path:
        """Return the path of a module's file.

        Raises:
            BaselineError: The module's name cannot be a file's.
        """
        if not _can_be_file(module):
            raise BaselineError(
                f"the test module {module!r} cannot have baselines: its name cannot be a file's"
            )
        return self.folder / f"{module}{_SUFFIX}"

    def modules(self) -> list[str]:
        """Return the modules that have a file, sorted."""
        found = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob(f"*{_SUFFIX}"))
        return sorted(each.removesuffix(_SUFFIX) for each in found)

    def load(self, module: str) -> Any:
        """Return the record of a module's file; None if there is no file.

        Raises:
            BaselineError: The file cannot be read, or is not what it should be.
        """
        path = self.path(module)
        data = read(path, file_format.MAX_BYTES)
        if data is None:
            return None
        found = file_format.parse(data, self._document, path)
        if found.module != module:
            raise BaselineError(
                f"{path} holds the baselines of the module {found.module!r}: "
                f"name it {found.module}{_SUFFIX}, or restore it from version control"
            )
        return found

    def read(self, module: str) -> dict[TestKey, Recorded] | None:
        """Return the tests of a module's file, from memory while the file is the same; None if there is none.

        Raises:
            BaselineError: The file cannot be read, or is not what it should be.
        """
        state = self._state(module)
        if module not in self._cached or self._cached[module][0] != state:
            self._cached[module] = (state, self._read(module))
        return self._cached[module][1]

    def everything(self) -> dict[TestKey, Recorded]:
        """Return the tests of all modules, sorted; raises as :meth:`read`."""
        found = {key: test for module in self.modules() for key, test in (self.read(module) or {}).items()}
        return {key: found[key] for key in sorted_keys(found)}

    def update(self, entries: Iterable[tuple[TestKey, Recorded]], mode: Mode) -> Updated:
        """Merge new records into the files, one module after the other; see ``BaselineStore.update``."""
        ordered = sorted(entries, key=lambda entry: entry[0].module)
        parts = [
            self._update(module, list(group), mode)
            for module, group in itertools.groupby(ordered, key=lambda entry: entry[0].module)
        ]
        return Updated(
            tuple(each for part in parts for each in part.written),
            tuple(each for part in parts for each in part.refused),
        )

    def unknown(self, known: set[TestKey]) -> set[TestKey]:
        """Return the tests in the files that are not among those known; raises as :meth:`read`."""
        return self.everything().keys() - known

    def prune(self, known: set[TestKey]) -> set[TestKey]:
        """Remove the tests that are not among those known, and return them; see ``BaselineStore.prune``."""
        modules = {key.module for key in self.unknown(known)}
        return {key for module in sorted(modules) for key in self._prune(module, known)}

    def move(self, pairs: Mapping[TestKey, TestKey], *, replaces: bool, write: bool = True) -> Moved:
        """Give stored tests other keys; what is stored of those is joined, or replaced.

        Args:
            pairs: New keys by the old ones.
            replaces: Whether what is stored of the new keys is dropped.
            write: Write the files, if there are no conflicts.

        Raises:
            BaselineError: A file cannot be used or written.
        """
        modules = dict.fromkeys(
            key.module for keys in zip(pairs.values(), pairs, strict=True) for key in keys
        )
        with changing(self.folder, self.path(next(iter(modules)))) if write else nullcontext():
            tests = {module: dict(self._read(module) or {}) for module in modules}
            moved, conflicts = [], []
            for old, new in pairs.items():
                record = tests[old.module].pop(old, None)
                if record is None:
                    continue
                there = tests[new.module].get(new)
                if there is not None and not replaces:
                    record, found = self._reconcile(there, record, renamed=True)
                    conflicts += [each._replace(test=name_of(new)) for each in found]
                tests[new.module][new] = record
                moved.append(new)
            if write and moved and not conflicts:
                for module in modules:
                    self._write(module, tests[module])
        return Moved(tuple(moved), tuple(conflicts))

    def _state(self, module: str) -> tuple[int, int, int] | None:
        try:
            status = self.path(module).stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _read(self, module: str) -> dict[TestKey, Recorded] | None:
        found = self.load(module)
        if found is None:
            return None
        if self._machine is not None and found.machine != self._machine:
            raise BaselineError(f"{self.path(module)}: {_other_machine(found.machine, self._machine)}")
        return {key_of(module, name): test for name, test in found.tests.items()}

    def _write(self, module: str, tests: Mapping[TestKey, Recorded]) -> None:
        path = self.path(module)
        if not tests:
            atomic_file.remove(path)
            self._remove_empty(path.parent)
            return
        content: dict[str, Any] = {} if self._machine is None else {"machine": self._machine}
        named = {name_of(key): test for key, test in tests.items()}
        file = self._document.kind(schema_version=VERSION, digest="", module=module, tests=named, **content)
        data = file_format.compose(file, self._document, path)
        self._make(path.parent)
        atomic_file.replace(path, data)

    def _make(self, folder: Path) -> None:
        """Make a folder below this one, on the disk before this returns."""
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir()
            atomic_file.sync(folder.parent)

    def _remove_empty(self, folder: Path) -> None:
        with suppress(OSError):  # of a folder that holds something
            while folder != self.folder:
                folder.rmdir()
                folder = folder.parent

    def _update(self, module: str, entries: list[tuple[TestKey, Recorded]], mode: Mode) -> Updated:
        written: list[tuple[TestKey, str]] = []
        refused: list[Refusal] = []
        replaced: set[TestKey] = set()
        with changing(self.folder, self.path(module)):
            tests = self._read(module) or {}
            for key, new in entries:
                if not key.name or "[" in key.name:
                    refused.append(Refusal(key, f"the test's name {key.name!r} cannot be stored"))
                    continue
                merged = self._merge(key, tests.get(key), new, "append" if key in replaced else mode)
                if merged.record is not None and merged.written:
                    tests[key] = merged.record
                    replaced |= {key} if mode == "replace" else set()
                written += [(key, name) for name in merged.written]
                refused += merged.refused
            if written:
                self._write(module, tests)
        return Updated(tuple(written), tuple(refused))

    def _prune(self, module: str, known: set[TestKey]) -> list[TestKey]:
        with changing(self.folder, self.path(module)):
            tests = self._read(module) or {}
            removed = [key for key in tests if key not in known]
            if removed:
                self._write(module, {key: test for key, test in tests.items() if key in known})
        return removed


def _can_be_file(module: str) -> bool:
    """Return if a module names a file that stays below its folder, on every system; results files name it."""
    return (
        len(module.encode()) <= _LONGEST_MODULE
        and module.isprintable()
        and set(module).isdisjoint('\\:*?"<>|')
        and all(_can_be_name(each) for each in module.split("/"))
    )


def _can_be_name(part: str) -> bool:
    ours = part == ".lock" or part.startswith(atomic_file.UNFINISHED)
    return part == part.strip(" ").rstrip(".") != "" and len(part.encode()) <= _LONGEST_NAME and not ours


def name_of(key: TestKey) -> str:
    """Return the name of a test in its module's file: ``name[parameters]``."""
    return f"{key.name}[{key.parameters}]" if key.parameters else key.name


def key_of(module: str, name: str) -> TestKey:
    """Return the key of a test by its name in its module's file."""
    test, bracket, parameters = name.partition("[")
    return TestKey(module, test, parameters[:-1] if bracket else "")


def sorted_keys(keys: Iterable[TestKey]) -> list[TestKey]:
    """Return keys in the order of modules, names and parameters."""
    return sorted(keys, key=lambda key: (key.module, key.name, key.parameters))


def _other_machine(found: Mapping[str, JSON], here: Mapping[str, JSON]) -> str:
    name = next(each for each in sorted({*found, *here}) if found.get(each) != here.get(each))
    return (
        f"recorded on another machine: {name} was {found.get(name)!r}, here it is {here.get(name)!r}; record "
        "its runs on this one"
    )
