"""The store of baselines: a folder of JSON files that is meant to be kept in version control."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Generic, TypeVar

from pytest_llm.baselines.io import changing
from pytest_llm.baselines.merge import add_facts, add_run
from pytest_llm.baselines.module_file import FactsCodec, MetricsCodec, Shelf
from pytest_llm.baselines.records import (
    Found,
    FoundFacts,
    Missing,
    Refusal,
    Updated,
)
from pytest_llm.errors import BaselineError
from pytest_llm.records import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pytest_llm.baselines.records import Conditions, Entry, InvariantsEntry, Mode, Recorded
    from pytest_llm.records import JSON, TestKey

_FINGERPRINT = re.compile(r"[0-9A-Za-z_-]{1,100}")

Test = TypeVar("Test")
New = TypeVar("New", bound="Entry | InvariantsEntry")


class BaselineStore:
    """What was recorded here before, by test.

    ``machines/FINGERPRINT/MODULE.json`` holds the runs that were made on one machine,
    ``portable/MODULE.json`` the facts that hold on every one. A file says which conditions a test was
    recorded under, and answers only for the same ones. The build of llama.cpp is none of them: it is what
    is judged.

    Several processes may use a folder at once. What :meth:`update` has returned is on the disk.
    """

    def __init__(self, folder: Path, fingerprint: str, machine_parts: Mapping[str, JSON]) -> None:
        """Remember where to look; nothing is read or made yet.

        Args:
            folder: The folder of baselines; need not exist.
            fingerprint: The short name of this machine.
            machine_parts: What the fingerprint is made of; files that say otherwise are refused.

        Raises:
            BaselineError: The fingerprint cannot be a folder's name.
        """
        if not _FINGERPRINT.fullmatch(fingerprint):
            raise BaselineError(f"the fingerprint {fingerprint!r} cannot be a folder's name")
        self._folder = folder
        self._fingerprint = fingerprint
        machine = {"machine": dict(machine_parts)}
        self._runs = _Kept(
            Shelf(folder / "machines" / fingerprint, "machine", MetricsCodec(), machine), add_run
        )
        self._invariants = _Kept(Shelf(folder / "portable", "portable", FactsCodec()), add_facts)

    def look_up(self, key: TestKey, metric: str, conditions: Conditions) -> Found | Missing:
        """Return the stored runs of a test's metric, or why there are none to compare with.

        Raises:
            BaselineError: The file is there and cannot be used.
            UnknownNameError: No metric is called so.
        """
        unit = metrics.find(metric).unit.base
        tests = self._runs.read(key.module)
        if tests is None:
            return Missing(self._no_file(key.module))
        if key not in tests:
            return Missing("this test was never recorded on this machine")
        test = tests[key]
        difference = test.conditions.difference(conditions)
        if difference:
            return Missing(difference)
        if metric not in test.metrics:
            return Missing(f"recorded without {metric}")
        series = test.metrics[metric]
        if series.unit != unit:
            return Missing(f"recorded in {series.unit!r}, now in {unit!r}")
        return Found(series.runs, test.conditions)

    def look_up_facts(self, key: TestKey, conditions: Conditions) -> FoundFacts | Missing:
        """Return the stored facts of a test, or why there are none to compare with.

        Raises:
            BaselineError: The file is there and cannot be used.
        """
        tests = self._invariants.read(key.module)
        if tests is None:
            return Missing(f"no facts of {key.module} in {self._invariants.shelf.folder}")
        if key not in tests:
            return Missing("no facts of this test were ever recorded")
        test = tests[key]
        difference = test.conditions.difference(conditions)
        if difference:
            return Missing(difference)
        return FoundFacts(test.invariants, test.provenance, test.conditions)

    def has_invariants(self, key: TestKey) -> bool:
        """Whether facts of a test are stored, under whatever conditions.

        Raises:
            BaselineError: The file is there and cannot be used.
        """
        return key in (self._invariants.read(key.module) or {})

    def recorded(self, module: str) -> Mapping[TestKey, Recorded]:
        """Return everything that this machine's file holds of a module; nothing if there is no file.

        Raises:
            BaselineError: The file is there and cannot be used.
        """
        return self._runs.read(module) or {}

    def modules(self) -> list[str]:
        """Return the test modules that this machine has a file of, sorted."""
        return self._runs.shelf.modules()

    def update(self, entries: Iterable[Entry], mode: Mode) -> Updated:
        """Store new runs; all of a module at once or, on an error, none of it.

        ``new`` stores metrics that have no runs yet. ``append`` adds a run to what is there, under the same
        conditions only and unless it is there already, and keeps the last 20 of each metric. ``replace``
        drops what is there of the test.
        Of a test that is given several times, the first counts so, the others are appended.

        Raises:
            BaselineError: A file cannot be used or written; it stays as it was. Modules that come before it
                in the alphabet are stored.
        """
        return self._runs.update(entries, mode)

    def update_invariants(self, entries: Iterable[InvariantsEntry], mode: Mode) -> Updated:
        """Store new facts; all of a module at once or, on an error, none of it.

        ``new`` and ``append`` add what is not there, under the same conditions only, and refuse what is
        stored with another value. ``replace`` drops what is there of the test.

        Raises:
            BaselineError: As :meth:`update`.
        """
        return self._invariants.update(entries, mode)

    def check(self, module: str) -> None:
        """Read what there is of a module, both of this machine and of every one.

        Raises:
            BaselineError: A file is there and cannot be used.
        """
        self._runs.read(module)
        self._invariants.read(module)

    def unknown(self, known: Iterable[TestKey]) -> list[TestKey]:
        """Return the tests that have baselines here, or facts, and are not among those known; sorted.

        Args:
            known: Every test that there is, in all modules.

        Raises:
            BaselineError: A file is there and cannot be used.
        """
        known = set(known)
        return _sorted({*self._runs.unknown(known), *self._invariants.unknown(known)})

    def prune(self, known: Iterable[TestKey]) -> list[TestKey]:
        """Remove what is stored of tests that are not among those known, and return them; sorted.

        Args:
            known: Every test that there is, in all modules.

        Raises:
            BaselineError: No test is known, which would remove all; or a file cannot be used or written.
        """
        known = set(known)
        if not known:
            raise BaselineError("no test is known, so every baseline would be removed: name the tests")
        return _sorted({*self._runs.prune(known), *self._invariants.prune(known)})

    def _no_file(self, module: str) -> str:
        machines = self._folder / "machines"
        others = sorted(each.name for each in machines.glob("*") if (each / f"{module}.json").is_file())
        there = f"there are some of {', '.join(others)}" if others else "nor of any other"
        return f"no baselines of {module} on this machine ({self._fingerprint}) in {machines}; {there}"


class _Kept(Generic[Test, New]):
    """A shelf, and how something new is added to what is on it."""

    def __init__(
        self,
        shelf: Shelf[Test],
        add: Callable[[Test | None, New, Mode], tuple[Test | None, list[str], list[tuple[str, str]]]],
    ) -> None:
        self.shelf = shelf
        self._add = add
        self._last: dict[str, tuple[object, dict[TestKey, Test] | None]] = {}

    def read(self, module: str) -> dict[TestKey, Test] | None:
        """Return what is stored of a module, from memory while its file is the same."""
        state = self.shelf.state(module)
        if module not in self._last or self._last[module][0] != state:
            self._last[module] = (state, self.shelf.read(module))
        return self._last[module][1]

    def update(self, entries: Iterable[New], mode: Mode) -> Updated:
        ordered = sorted(entries, key=lambda entry: entry.key.module)
        parts = [
            self._update(module, list(group), mode)
            for module, group in itertools.groupby(ordered, key=lambda entry: entry.key.module)
        ]
        return Updated(
            tuple(each for part in parts for each in part.written),
            tuple(each for part in parts for each in part.refused),
        )

    def _update(self, module: str, entries: list[New], mode: Mode) -> Updated:
        written: list[tuple[TestKey, str]] = []
        refused: list[Refusal] = []
        replaced: set[TestKey] = set()
        with changing(self.shelf.path(module)):
            tests = self.shelf.read(module) or {}
            for entry in entries:
                key = entry.key
                if not key.name or "[" in key.name:
                    refused.append(Refusal(key, f"the test's name {key.name!r} cannot be stored"))
                    continue
                how: Mode = "append" if key in replaced else mode
                record, names, refusals = self._add(tests.get(key), entry, how)
                if record is not None and names:
                    tests[key] = record
                    replaced |= {key} if mode == "replace" else set()
                written += [(key, name) for name in names]
                refused += [Refusal(key, reason, name) for name, reason in refusals]
            if written:
                self.shelf.write(module, tests)
        return Updated(tuple(written), tuple(refused))

    def unknown(self, known: set[TestKey]) -> set[TestKey]:
        return {key for module in self.shelf.modules() for key in self.read(module) or {} if key not in known}

    def prune(self, known: set[TestKey]) -> set[TestKey]:
        modules = {key.module for key in self.unknown(known)}
        return {key for module in sorted(modules) for key in self._prune(module, known)}

    def _prune(self, module: str, known: set[TestKey]) -> list[TestKey]:
        with changing(self.shelf.path(module)):
            tests = self.shelf.read(module) or {}
            removed = [key for key in tests if key not in known]
            if removed:
                self.shelf.write(module, {key: test for key, test in tests.items() if key in known})
        return removed


def _sorted(keys: set[TestKey]) -> list[TestKey]:
    return sorted(keys, key=lambda key: (key.module, key.name, key.parameters))
