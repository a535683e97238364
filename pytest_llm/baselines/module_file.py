"""One file of baselines: from records to a document and back, where it lies, and what its keys look like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pytest_llm.baselines import document, io
from pytest_llm.baselines.records import (
    Conditions,
    Recorded,
    RecordedInvariants,
    Series,
)
from pytest_llm.errors import BaselineError
from pytest_llm.records import Provenance, StoredRun, TestKey
from pytest_llm.system import atomic_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_llm.records import JSON

Test = TypeVar("Test")

# Dotted words, each a Python name or what pytest makes of a file's: as a file's name they mean themselves.
_MODULE = re.compile(r"[\w-]+(\.[\w-]+)*")
_LONGEST_MODULE = 200


class Codec(Protocol[Test]):
    """What is particular to one kind of test record."""

    def encode(self, test: Test) -> dict[str, Any]:
        """Return the record as the file has it."""

    def decode(self, test: dict[str, Any]) -> Test:
        """Return the record of what a file, whose shape was checked, has."""


class Shelf(Generic[Test]):
    """The files of one folder, one for each test module, all of one kind.

    Attributes:
        folder: Where they lie; need not exist.
    """

    def __init__(
        self,
        folder: Path,
        kind: document.Kind,
        codec: Codec[Test],
        head: Mapping[str, Mapping[str, JSON]] | None = None,
    ) -> None:
        """Remember where to look; nothing is read or made yet.

        Args:
            folder: Where the files lie.
            kind: Which shape they have.
            codec: What a test's record looks like.
            head: What every file says besides, and must say to be read.
        """
        self.folder = folder
        self._kind = kind
        self._codec = codec
        self._head = head or {}

    def path(self, module: str) -> Path:
        """Return where a module's file is.

        Raises:
            BaselineError: The module's name cannot be a file's.
        """
        if not _MODULE.fullmatch(module) or len(module.encode()) > _LONGEST_MODULE:
            raise BaselineError(
                f"the test module {module!r} cannot have baselines: its name cannot be a file's"
            )
        return self.folder / f"{module}.json"

    def modules(self) -> list[str]:
        """Return the modules that have a file, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def state(self, module: str) -> tuple[int, int, int] | None:
        """Return what changes whenever a module's file does; None if there is none that can be seen."""
        try:
            status = self.path(module).stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def read(self, module: str) -> dict[TestKey, Test] | None:
        """Return what is stored of a module's tests; None if there is no file.

        Raises:
            BaselineError: The file cannot be read, or is not what it should be.
        """
        found = self._document(module)
        if found is None:
            return None
        for part, here in self._head.items():
            if found[part] != here:
                raise BaselineError(
                    f"{self.path(module)}: {_other(part, found[part], here)}; record its runs on this one"
                )
        return {key_of(module, name): self._codec.decode(test) for name, test in found["tests"].items()}

    def head(self, module: str) -> dict[str, Any]:
        """Return what a module's file says besides its tests; nothing if there is no file.

        Raises:
            BaselineError: The file cannot be read, or is not what it should be.
        """
        found = self._document(module) or {}
        return {part: said for part, said in found.items() if part not in {"module", "tests"}}

    def _document(self, module: str) -> dict[str, Any] | None:
        path = self.path(module)
        data = io.read(path, document.MAX_BYTES)
        if data is None:
            return None
        found = document.parse(data, self._kind, path)
        if found["module"] != module:
            raise BaselineError(
                f"{path} holds the baselines of the module {found['module']!r}: "
                f"name it {found['module']}.json, or restore it from version control"
            )
        return found

    def write(self, module: str, tests: Mapping[TestKey, Test]) -> None:
        """Store exactly these tests of a module; without any, there is no file.

        Raises:
            BaselineError: They cannot be a file's content.
            OSError: It cannot be written.
        """
        path = self.path(module)
        if not tests:
            atomic_file.remove(path)
            return
        content = {
            **self._head,
            "module": module,
            "tests": {name_of(key): self._codec.encode(test) for key, test in tests.items()},
        }
        atomic_file.replace(path, document.compose(content, self._kind, path))


def name_of(key: TestKey) -> str:
    """Return what a test is called in its module's file: ``name[parameters]``."""
    return f"{key.name}[{key.parameters}]" if key.parameters else key.name


def key_of(module: str, name: str) -> TestKey:
    """Return the key of a test by what it is called in its module's file."""
    test, bracket, parameters = name.partition("[")
    return TestKey(module, test, parameters[:-1] if bracket else "")


class MetricsCodec:
    """Runs by metric, each a flat object."""

    def encode(self, test: Recorded) -> dict[str, Any]:
        """Return the record as the file has it."""
        return {
            "conditions": dict(vars(test.conditions)),
            "metrics": {
                name: {
                    "unit": series.unit,
                    "runs": [run.plain() for run in series.runs],
                }
                for name, series in test.metrics.items()
            },
        }

    def decode(self, test: dict[str, Any]) -> Recorded:
        """Return the record of what a file, whose shape was checked, has."""
        return Recorded(
            Conditions(**test["conditions"]),
            {
                name: Series(metric["unit"], tuple(StoredRun.of(**run) for run in metric["runs"]))
                for name, metric in test["metrics"].items()
            },
        )


class FactsCodec:
    """Facts by name, with one provenance."""

    def encode(self, test: RecordedInvariants) -> dict[str, Any]:
        """Return the record as the file has it."""
        return {
            "conditions": dict(vars(test.conditions)),
            "invariants": dict(test.invariants),
            "provenance": dict(vars(test.provenance)),
        }

    def decode(self, test: dict[str, Any]) -> RecordedInvariants:
        """Return the record of what a file, whose shape was checked, has."""
        return RecordedInvariants(
            Conditions(**test["conditions"]), test["invariants"], Provenance(**test["provenance"])
        )


def _other(part: str, found: Mapping[str, JSON], here: Mapping[str, JSON]) -> str:
    name = next(each for each in sorted({*found, *here}) if found.get(each) != here.get(each))
    return f"recorded on another {part}: {name} was {found.get(name)!r}, here it is {here.get(name)!r}"
