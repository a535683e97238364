"""Comparisons of any two builds, each pair once: from the cache, or measured by pytest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_llm.bisect.cache import Unfit, identity
from pytest_llm.errors import BuildError, EngineError, EngineMissingError, LLMBenchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.bisect.cache import Cache
    from pytest_llm.bisect.pytest_runner import Runner
    from pytest_llm.records import Build


@dataclass(frozen=True)
class PairComparison:
    """The results file of a reference, at place ``first``, and a candidate, at ``last``."""

    first: int
    last: int
    results: Mapping[str, Any]
    seconds: float | None = None  # None if it was in the cache


class Pairs:
    """The builds of a range, and every comparison between two of them."""

    def __init__(
        self,
        builds: Sequence[str],
        describe: Callable[[str], Build],
        runner: Runner,
        cache: Cache,
        comparisons: int,
        gates: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.builds = list(builds)
        self.described: dict[int, Build] = {}
        self.unfit: dict[int, Unfit] = {}
        self.compared: list[PairComparison] = []
        self._describe = describe
        self._runner = runner
        self._cache = cache
        self._comparisons = comparisons
        self._family = comparisons * gates
        self._clock = clock

    def compare(self, first: int, last: int) -> PairComparison | None:
        """Return the comparison; None if a build is unfit, ``UsageError`` if nothing can be measured here."""
        for each in self.compared:
            if (each.first, each.last) == (first, last):
                return each
        fit = [self._is_fit(place) for place in (first, last)]
        if not all(fit):
            return None
        found = self._cached_or_measured(first, last)
        if found is not None:
            self.compared.append(found)
        return found

    def _cached_or_measured(self, first: int, last: int) -> PairComparison | None:
        sides = self._identity(first), self._identity(last)
        cache = self._cache.comparison(*sides, self._family)
        if cache is not None:
            return PairComparison(first, last, cache)
        started = self._clock()
        outcome = self._runner.compare(self.builds[first], self.builds[last], self._comparisons)
        if outcome.results is None:
            self._blame(first, last, outcome.reason)
            return None
        self._cache.store_comparison(*sides, outcome.results)
        return PairComparison(first, last, outcome.results, self._clock() - started)

    def _identity(self, place: int) -> dict[str, Any]:
        return identity(self.builds[place], self.described[place])

    def _is_fit(self, place: int) -> bool:
        if place not in self.described and place not in self.unfit:
            self._describe_build(place)
        return place not in self.unfit

    def _describe_build(self, place: int) -> None:
        try:
            self.described[place] = self._describe(self.builds[place])
        except LLMBenchError as error:
            runs = isinstance(error, EngineError) and not isinstance(error, (BuildError, EngineMissingError))
            what: Literal["cannot run", "cannot be built"] = "cannot run" if runs else "cannot be built"
            self.unfit[place] = Unfit(what, self._without_name(place, str(error)))
            return
        known = self._cache.unfit(self._identity(place))
        if known is not None:
            self.unfit[place] = known

    def _without_name(self, place: int, reason: str) -> str:
        build = self.builds[place]
        return reason.removeprefix(f"{build}: ").removeprefix(f"{build} cannot be made: ")

    def _blame(self, first: int, last: int, reason: str) -> None:
        # A build is to blame only if the other one can be measured.
        solo = {place: self._runner.solo(self.builds[place]) for place in (first, last)}
        failed = {place: outcome.reason for place, outcome in solo.items() if outcome.results is None}
        if len(failed) == 1:
            ((place, why),) = failed.items()
            self.unfit[place] = Unfit("cannot run", self._without_name(place, why))
            self._cache.store_unfit(self._identity(place), self.unfit[place])
            return
        which = "neither can be measured solo" if failed else "each of them can be measured solo"
        raise UsageError(f"{self.builds[first]} and {self.builds[last]}: {which}: {reason}")
