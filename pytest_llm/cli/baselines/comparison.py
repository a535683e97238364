"""A results file against the store: what pytest would say of these runs, had it judged every metric."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llm.checks.baseline import check_baseline, drift_from
from pytest_llm.checks.findings import Drift
from pytest_llm.records import Gate, Verdict, metrics

if TYPE_CHECKING:
    from pytest_llm.baselines import BaselineStore
    from pytest_llm.checks.findings import BaselineCheck
    from pytest_llm.records import TestKey
    from pytest_llm.reports.document import Results, TestEntry


@dataclass(frozen=True)
class Compared:
    """One metric of a test.

    Attributes:
        baseline_check: As a run would judge it.
        gated: Whether the test asked for it; if not, it decides nothing.
        new: Nothing is stored of it, so that to accept it is to begin.
    """

    baseline_check: BaselineCheck
    gated: bool
    new: bool = False

    @property
    def regressed(self) -> bool:
        """If the metric regressed."""
        return self.baseline_check.verdict is Verdict.REGRESSED


@dataclass(frozen=True)
class TestDiff:
    """One test of a results file.

    Attributes:
        key: Which one.
        problem: Why it holds nothing to compare; "" otherwise.
        new: Nothing is stored of the whole test.
        metrics: In the order of the file, then what only the store has.
        drift: From the stored facts.
    """

    key: TestKey
    problem: str = ""
    new: bool = False
    metrics: tuple[Compared, ...] = ()
    drift: Drift = field(default_factory=Drift)

    __test__ = False


def family_of(results: Results) -> int:
    """Return how many gates shared the error rate when the results were made."""
    return results.rule.family if results.rule else 1


def diff(results: Results, store: BaselineStore) -> list[TestDiff]:
    """Compare every metric of every test with what is stored of it.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    return [_test(test, results, store) for test in results.tests]


def _test(test: TestEntry, results: Results, store: BaselineStore) -> TestDiff:
    key = test.key
    if test.run is None:
        return TestDiff(key, problem=": ".join(["not measured", *test.notes]))
    run, family = results.runs[test.run], family_of(results)
    stored = store.recorded(key.module).get(key)
    known = stored.metrics if stored else {}
    tolerances = {name: entry.baseline.tolerance for name, entry in test.metrics.items() if entry.baseline}
    compared = [
        Compared(
            check_baseline(store, key, run, Gate(metric, tolerances.get(name, metric.tolerance)), family),
            gated=name in tolerances,
            new=name not in known,
        )
        for name in dict.fromkeys([*test.metrics, *known])
        for metric in [metrics.find(name)]
    ]
    return TestDiff(key, new=stored is None, metrics=tuple(compared), drift=drift_from(store, key, run))
