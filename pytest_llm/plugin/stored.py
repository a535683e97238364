"""Baselines that this run may be judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.baselines import Missing

if TYPE_CHECKING:
    from pytest_llm.baselines import BaselineStore
    from pytest_llm.plugin.homes import Homes
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.records import Benchmark


class Stored:
    """Baselines of benchmarks, each in the home of its test."""

    def __init__(self, settings: Settings, homes: Homes) -> None:
        self._settings = settings
        self._homes = homes

    def store_of(self, benchmark: Benchmark) -> BaselineStore:
        """Return the store that a benchmark's runs are added to."""
        return self._homes.called(benchmark.home).baselines

    def judging(self, benchmark: Benchmark) -> BaselineStore | Missing:
        """Return the baselines that gates are judged by, or why there are none."""
        if self._settings.update == "replace":
            return Missing("this run replaces it")
        return self.store_of(benchmark)

    def check(self, benchmark: Benchmark) -> None:
        """Read the baselines that a benchmark is compared with or added to; may raise ``BaselineError``."""
        alone = self._settings.reference_of(benchmark.subject) is None
        if (alone and (benchmark.gates or benchmark.output)) or self._settings.update:
            self.store_of(benchmark).check(benchmark.key.module)
