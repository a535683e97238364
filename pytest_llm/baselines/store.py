"""The store of baselines: a folder of JSON files that is meant to be kept in version control."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines.anchored import class_name, class_of, pooled_spreads
from pytest_llm.baselines.folders import ANCHORED, machine_files, portable_files, ratio_files
from pytest_llm.baselines.format import full_name, move_command
from pytest_llm.baselines.inventory import likely
from pytest_llm.baselines.module_files import ModuleFiles, sorted_keys
from pytest_llm.baselines.records import RATIO, Missing
from pytest_llm.errors import BaselineError
from pytest_llm.records import OUTPUT_SNAPSHOT, StoredInvariants, metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pytest_llm.baselines.records import Conditions, Mode, RecordedInvariants, RecordedRuns, Updated
    from pytest_llm.records import JSON, StoredRun, TestKey
    from pytest_llm.records.metric import Metric
    from pytest_llm.stats.prediction import Spread

_FINGERPRINT = re.compile(r"[0-9A-Za-z_-]{1,100}")


class BaselineStore:
    """Baselines recorded before, by test.

    ``machines/FINGERPRINT/MODULE.json`` holds the runs of one machine, ``anchored/CLASS/MODULE.json`` the
    ratios to an anchor of a class of machines, ``portable/MODULE.json`` the invariants of every machine. A
    file names the conditions that a test was recorded under, and answers only for the same ones. The build of
    llama.cpp is not among them: it is what is judged.

    Several processes may use a folder at once. What :meth:`update` has returned is on the disk.

    Attributes:
        folder: The folder of baselines; need not exist.
    """

    def __init__(self, folder: Path, fingerprint: str, machine_parts: Mapping[str, JSON]) -> None:
        """Remember the folder; nothing is read or made yet.

        Args:
            folder: The folder of baselines; need not exist.
            fingerprint: The short name of this machine.
            machine_parts: What the fingerprint is made of; files with other parts are refused.

        Raises:
            BaselineError: The fingerprint cannot be a folder's name.
        """
        if not _FINGERPRINT.fullmatch(fingerprint):
            raise BaselineError(f"the fingerprint {fingerprint!r} cannot be a folder's name")
        self.folder = folder
        self._fingerprint = fingerprint
        self._exists: Callable[[TestKey], bool] | None = None
        self._options = self._record = ""
        self._runs = machine_files(folder, fingerprint, dict(machine_parts))
        machine_class = class_of(machine_parts)
        self._class = class_name(machine_class)
        self._ratios = ratio_files(folder, self._class, machine_class)
        self._invariants = portable_files(folder)

    def look_up(self, key: TestKey, metric: str, conditions: Conditions) -> tuple[StoredRun, ...] | Missing:
        """Return the stored runs of a test's metric, oldest first, or why there are none to compare with.

        Raises:
            BaselineError: The file is there and cannot be used.
            UnknownNameError: No metric is called so.
        """
        unit = metrics.find(metric).unit.base
        tests = self._runs.read(key.module)
        if tests is None:
            return Missing(self._no_file(key.module), hint=self._hint(key, self._runs.everything, conditions))
        if key not in tests:
            hint = self._hint(key, self._runs.everything, conditions) or self._record
            return Missing("this test was never recorded on this machine", True, hint)
        return self._comparable(tests[key], metric, conditions, unit)

    def look_up_ratios(
        self, key: TestKey, metric: str, conditions: Conditions
    ) -> tuple[StoredRun, ...] | Missing:
        """Return the stored ratios of a test's metric to an anchor; as :meth:`look_up`.

        Args:
            key: Of the test.
            metric: Its name.
            conditions: Those of now, with the anchor.
        """
        tests = self._ratios.read(key.module)
        if tests is None:
            hint = self._hint(key, self._ratios.everything, conditions)
            where = self.folder / ANCHORED / self._class
            return Missing(f"{where} has no ratios of {key.module} to an anchor", hint=hint)
        if key not in tests:
            hint = self._hint(key, self._ratios.everything, conditions) or self._record
            return Missing("the ratio of this test to an anchor was never recorded", True, hint)
        return self._comparable(tests[key], metric, conditions, RATIO)

    def recorded_ratios(self) -> Mapping[TestKey, RecordedRuns]:
        """Return all ratios to an anchor that this machine's class has.

        Raises:
            BaselineError: A file is there and cannot be used.
        """
        return self._ratios.everything()

    def ratio_spreads(self, metric: Metric) -> tuple[Spread | None, Spread | None]:
        """Return how much typical and whole ratios spread on this class of machines; see ``pooled_spreads``.

        Raises:
            BaselineError: A file is there and cannot be used.
        """
        return pooled_spreads(metric, self._ratios.everything().values())

    def _comparable(
        self, test: RecordedRuns, metric: str, conditions: Conditions, unit: str
    ) -> tuple[StoredRun, ...] | Missing:
        difference = test.conditions.difference(conditions)
        if difference:
            return Missing(difference)
        if metric not in test.metrics:
            return Missing(f"recorded without {metric}", True, self._record)
        series = test.metrics[metric]
        if series.unit != unit:
            return Missing(f"recorded in {series.unit!r}, now in {unit!r}")
        return series.runs

    def look_up_invariants(self, key: TestKey, conditions: Conditions) -> StoredInvariants | Missing:
        """Return the stored invariants of a test, or why there are none to compare with.

        Raises:
            BaselineError: The file is there and cannot be used.
        """
        tests = self._invariants.read(key.module)
        if tests is None:
            return Missing(f"no invariants of {key.module} in {self._invariants.folder}")
        if key not in tests:
            return Missing("no invariants of this test were ever recorded")
        test = tests[key]
        difference = test.conditions.difference(conditions)
        if difference:
            return Missing(difference)
        return StoredInvariants(test.invariants, test.provenance)

    def look_up_environment(self, key: TestKey, conditions: Conditions) -> Mapping[str, JSON] | None:
        """Return the environment of a test's stored runs; None if there are none to compare with.

        Raises:
            BaselineError: The file is there and cannot be used.
        """
        test = self.recorded(key.module).get(key)
        if test is None or test.conditions.difference(conditions):
            return None
        return test.conditions.environment

    def without_snapshot(self, key: TestKey, conditions: Conditions | None = None) -> Missing:
        """Return why there is no output snapshot of a test.

        Raises:
            BaselineError: The file is there and cannot be used.
        """
        tests = self._invariants.read(key.module) or {}
        hint = "" if key in tests else self._hint(key, self._snapshots, conditions)
        others = any(OUTPUT_SNAPSHOT in each.invariants for each in tests.values())
        return Missing("the output of this test was never recorded", others, hint)

    def _snapshots(self) -> dict[TestKey, RecordedInvariants]:
        stored = self._invariants.everything()
        return {key: each for key, each in stored.items() if OUTPUT_SNAPSHOT in each.invariants}

    def has_invariants(self, key: TestKey) -> bool:
        """Return true if invariants of a test are stored, under any conditions.

        Raises:
            BaselineError: The file is there and cannot be used.
        """
        return key in (self._invariants.read(key.module) or {})

    def recorded(self, module: str) -> Mapping[TestKey, RecordedRuns]:
        """Return everything that this machine's file holds of a module; nothing if there is no file.

        Raises:
            BaselineError: The file is there and cannot be used.
        """
        return self._runs.read(module) or {}

    def expect(self, exists: Callable[[TestKey], bool], options: str = "") -> None:
        """Say what to do about tests without baselines: most of all, what is likely stored of them.

        Args:
            exists: Returns true for stored tests that exist, or that may exist.
            options: Of the command that moves baselines, so that it finds this folder.
        """
        self._exists, self._options = exists, options
        self._record = ": record it with --llm-update-baselines=append"

    def modules(self) -> list[str]:
        """Return the test modules that this machine has a file of, sorted."""
        return self._runs.modules()

    def update(self, entries: Iterable[tuple[TestKey, RecordedRuns]], mode: Mode) -> Updated:
        """Store new runs; all of a module at once or, on an error, none of it.

        "new" stores metrics that have no runs yet. "append" adds a run to the stored ones, under the same
        conditions only and unless it is stored already, and keeps the last 20 of each metric. "replace" drops
        what is stored of the test.
        If a test is given several times, this holds for the first one; the others are appended.

        Args:
            entries: Tests, each with one new run of every metric.
            mode: As above.

        Raises:
            BaselineError: A file cannot be used or written; it stays as it was. Modules that come before it
                in the alphabet are stored.
        """
        return self._runs.update(entries, mode)

    def update_ratios(self, entries: Iterable[tuple[TestKey, RecordedRuns]], mode: Mode) -> Updated:
        """Store new ratios to an anchor; as :meth:`update`."""
        return self._ratios.update(entries, mode)

    def update_invariants(self, entries: Iterable[tuple[TestKey, RecordedInvariants]], mode: Mode) -> Updated:
        """Store new invariants; all of a module at once or, on an error, none of it.

        "new" and "append" add what is not stored, under the same conditions only, and refuse what is stored
        with another value. "replace" drops what is stored of the test.

        Raises:
            BaselineError: As :meth:`update`.
        """
        return self._invariants.update(entries, mode)

    def check(self, module: str) -> None:
        """Read the files of a module: this machine's, its class's and the portable one.

        Raises:
            BaselineError: A file is there and cannot be used.
        """
        self._runs.read(module)
        self._ratios.read(module)
        self._invariants.read(module)

    def unknown(self, known: Iterable[TestKey]) -> list[TestKey]:
        """Return the tests that have runs, ratios or invariants here and are not among those known; sorted.

        Args:
            known: Every test that there is, in all modules.

        Raises:
            BaselineError: A file is there and cannot be used.
        """
        known = set(known)
        stores: tuple[ModuleFiles[Any], ...] = (self._runs, self._ratios, self._invariants)
        return sorted_keys({key for each in stores for key in each.unknown(known)})

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
        stores: tuple[ModuleFiles[Any], ...] = (self._runs, self._ratios, self._invariants)
        return sorted_keys({key for each in stores for key in each.prune(known)})

    def _hint(
        self,
        key: TestKey,
        stored: Callable[[], Mapping[TestKey, RecordedRuns | RecordedInvariants]],
        conditions: Conditions | None,
    ) -> str:
        """Return the command that moves what is likely stored of a test, as the end of a reason, or ""."""
        if self._exists is None:
            return ""
        with suppress(BaselineError):  # of other modules
            gone = {each: test.conditions for each, test in stored().items() if not self._exists(each)}
            old = likely(key, gone, conditions)
            if old is not None:
                move = move_command(old, key, self._options)
                return f"; the baselines of {full_name(old)} are likely those of this test: {move}"
        return ""

    def _no_file(self, module: str) -> str:
        machines = self.folder / "machines"
        others = sorted(each.name for each in machines.glob("*") if (each / f"{module}.json").is_file())
        there = f", only for {', '.join(others)}" if others else " or any other"
        return (
            f"{machines} has none of {module} for this machine ({self._fingerprint}){there}; "
            "--llm-update-baselines=new stores this run"
        )
