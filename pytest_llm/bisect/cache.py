"""Cache of comparisons and of builds that cannot be tested.

A file is named by a digest of everything that it depends on. A results file is used only if its rule was at
least as strict as the one that is asked for.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_llm.errors import DataError, ResultsError, UsageError
from pytest_llm.records.serialization import DecodeError, decode, encode
from pytest_llm.reports import results_file
from pytest_llm.reports.recheck import differences
from pytest_llm.system import atomic_file, strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import Build

_MAX_BYTES = 2**20  # of the reason why a build cannot be tested


@dataclass(frozen=True)
class Unfit:
    """Why a build cannot be tested."""

    what: Literal["cannot be built", "cannot run"]
    reason: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class Cache:
    """The files of one test on one machine."""

    def __init__(self, folder: Path, conditions: Mapping[str, Any], *, fresh: bool = False) -> None:
        self._folder = folder
        self._conditions = dict(conditions)
        self._fresh = fresh
        self._written: set[Path] = set()

    def comparison(self, reference: object, candidate: object, family: int) -> dict[str, Any] | None:
        """Return results whose verdicts share the error rate with at least ``family`` in all."""
        path = self._path("comparison", reference, candidate)
        if not self._usable(path):
            return None
        try:
            document = results_file.read_plain(path)
            results = results_file.decoded(path, document)
            wrong = differences(results)
        except ResultsError:
            return None  # cut off, or of another time: measured again
        rule = results.rule
        usable = not wrong and len(results.tests) == 1 and rule is not None and rule.family >= family
        return document if usable else None

    def store_comparison(self, reference: object, candidate: object, document: Mapping[str, Any]) -> None:
        self._write(self._path("comparison", reference, candidate), document)

    def unfit(self, build: object) -> Unfit | None:
        path = self._path("unfit", build)
        if not self._usable(path):
            return None
        try:
            return decode(Unfit, strict_json.read(path, limit=_MAX_BYTES))
        except (DataError, DecodeError):
            return None

    def store_unfit(self, build: object, unfit: Unfit) -> None:
        self._write(self._path("unfit", build), encode(unfit))

    def _path(self, kind: str, *builds: object) -> Path:
        text = json.dumps([kind, self._conditions, *builds], sort_keys=True)
        return self._folder / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def _usable(self, path: Path) -> bool:
        return path.exists() and (not self._fresh or path in self._written)

    def _write(self, path: Path, document: object) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            atomic_file.replace_own(path, (json.dumps(document, indent=1) + "\n").encode())
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}); name another folder with --cache"
            ) from error
        self._written.add(path)


def identity(reference: str, build: Build) -> dict[str, Any]:
    """Return, as plain values, what distinguishes a build from others, replaced files included."""
    return {"reference": reference, "build": encode(build), "files": _stamps(build)}


# Another build installed under the same path changes these.
_INSTALLED = (
    "bin/python",
    "lib/python*/site-packages/*.pth",
    "lib/python*/site-packages/llama_cpp*/RECORD",
    "lib/python*/site-packages/llama_cpp/lib/*",
)


def _stamps(build: Build) -> list[list[Any]]:
    environment = Path(build.where).parent.parent
    found = {path for pattern in _INSTALLED for path in environment.glob(pattern)}
    stats = [(path, path.lstat()) for path in sorted(found)]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
