"""A results file against the store: what pytest would say of these runs, had it judged every metric."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llm.checks.anchored import check_anchored
from pytest_llm.checks.baseline import check_baseline, drift_from
from pytest_llm.checks.findings import Drift
from pytest_llm.records import Gate, Verdict, metrics
from pytest_llm.reports.recheck import pairs_of
from pytest_llm.stats.sequential import TAU

if TYPE_CHECKING:
    from pytest_llm.baselines import BaselineStore
    from pytest_llm.checks.findings import BaselineCheck
    from pytest_llm.records import TestKey
    from pytest_llm.reports.document import Results, TestEntry


@dataclass(frozen=True)
class Compared:
    """One metric of a test, judged as a run judges it."""

    baseline_check: BaselineCheck
    gated: bool  # by the test; if not, it decides nothing
    new: bool = False  # nothing is stored of it

    @property
    def regressed(self) -> bool:
        return self.baseline_check.verdict is Verdict.REGRESSED


@dataclass(frozen=True)
class TestDiff:
    """One test of a results file."""

    key: TestKey
    problem: str = ""  # why it holds nothing to compare
    new: bool = False  # nothing is stored of the whole test
    metrics: tuple[Compared, ...] = ()  # in the order of the file, then those only stored
    drift: Drift = field(default_factory=Drift)

    __test__ = False


def family_of(results: Results) -> int:
    """Return how many gates shared the error rate when the results were made."""
    return results.rule.family if results.rule else 1


def diff(results: Results, store: BaselineStore) -> list[TestDiff]:
    """Compare every metric of every test with the stored ones."""
    return [_test(test, results, store) for test in results.tests]


def _test(test: TestEntry, results: Results, store: BaselineStore) -> TestDiff:
    key = test.key
    if test.run is None:
        return TestDiff(key, problem=": ".join(["not measured", *test.notes]))
    run, family = results.runs[test.run], family_of(results)
    stored = store.recorded(key.module).get(key)
    known = stored.metrics if stored else {}
    gates = {
        name: Gate(metrics.find(name), entry.baseline.tolerance, entry.baseline.negligible_asked)
        for name, entry in test.metrics.items()
        if entry.baseline
    }
    beside = {
        name: entry.baseline.anchored.pair
        for name, entry in test.metrics.items()
        if entry.baseline is not None and entry.baseline.anchored is not None
    }
    pairs = pairs_of(results, results.runs)

    def check(name: str, gate: Gate) -> BaselineCheck:
        if name in beside:
            return check_anchored(store, key, pairs[beside[name]], gate, family)
        return check_baseline(store, key, run, gate, family, results.rule.tau if results.rule else TAU)

    compared = [
        Compared(
            check(name, gates.get(name, Gate(metric, metric.tolerance))),
            gated=name in gates,
            new=name not in {**known, **beside},
        )
        for name in dict.fromkeys([*test.metrics, *known])
        for metric in [metrics.find(name)]
    ]
    return TestDiff(
        key, new=stored is None and not beside, metrics=tuple(compared), drift=drift_from(store, key, run)
    )
