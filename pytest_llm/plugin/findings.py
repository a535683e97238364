"""Findings of this run, and the files they are written to."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import update_lines
from pytest_llm.errors import LLMBenchError
from pytest_llm.machine import fingerprint, qualification
from pytest_llm.reports import results_file
from pytest_llm.reports.document import Machine
from pytest_llm.reports.results import results_of
from pytest_llm.reports.update_baselines import by_home, update

if TYPE_CHECKING:
    from pytest_llm.checks.findings import Finding
    from pytest_llm.plugin.homes import Homes
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.records import Run
    from pytest_llm.reports.document import Results
    from pytest_llm.stats.sequential import Rule

_FAILED = ("failed", "error")


class Findings:
    """What was found, by the node id of its test.

    Attributes:
        results: Of all tests; None until :meth:`finish`.
        written: What was written at the end, a line each.
        unwritten: What could not be written, a line each.
    """

    def __init__(self, settings: Settings, homes: Homes) -> None:
        """Begin with nothing found."""
        self.results: Results | None = None
        self.written: list[str] = []
        self.unwritten: list[str] = []
        self._settings = settings
        self._homes = homes
        self._started = datetime.now(timezone.utc)
        self._found: dict[str, Finding] = {}

    @cached_property
    def qualified_since(self) -> str | None:
        """When this machine was qualified; None if it is not."""
        return qualification.read(self._settings.cache, fingerprint.fingerprint()).since

    def add(self, finding: Finding) -> None:
        """Add the finding of a test; if a plugin repeats it, a failure before still counts."""
        before = self._found.get(finding.benchmark.nodeid, finding)
        self._found[finding.benchmark.nodeid] = replace(finding, outcome=before.outcome)

    def note_outcome(self, nodeid: str, outcome: str) -> None:
        """Note how the test of a benchmark ended."""
        if nodeid in self._found and self._found[nodeid].outcome not in _FAILED:
            self._found[nodeid] = replace(self._found[nodeid], outcome=outcome)

    def runs(self) -> list[Run]:
        """Return every run that a benchmark got."""
        return [finding.run for finding in self._found.values() if finding.run is not None]

    def finish(self, rule: Rule) -> None:
        """Build the results, once all tests have ended, and write what the options ask for.

        Args:
            rule: The sequential rule of the pairs.
        """
        parts: dict[str, Any] = fingerprint.parts()
        self.results = results_of(
            list(self._found.values()),
            self._started,
            datetime.now(timezone.utc),
            Machine(fingerprint.fingerprint(), **parts, qualified=self.qualified_since),
            rule,
        )
        if not self._found:
            return
        for write in (self._write_results, self._update_baselines):
            try:
                self.written += write(self.results)
            except LLMBenchError as error:  # what can be written still is
                self.unwritten.append(str(error))

    def _write_results(self, made: Results) -> list[str]:
        if self._settings.json is None:
            return []
        results_file.write(self._settings.json, made)
        return [f"results in {self._settings.json}"]

    def _update_baselines(self, made: Results) -> list[str]:
        mode = self._settings.update
        if mode is None:
            return []
        lines = []
        for name, part in by_home(made).items():
            store = self._homes.called(name).baselines
            lines += update_lines(update(store, [part], mode), store.folder)
        return lines
