"""A run against the store: what is stored of its test decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.baselines import Conditions, Missing
from pytest_llm.findings import Drift
from pytest_llm.records import StoredFacts
from pytest_llm.verdicts import compare, screen_run

if TYPE_CHECKING:
    from pytest_llm.baselines import BaselineStore
    from pytest_llm.findings import Screening
    from pytest_llm.records import Gate, Run, TestKey


def screen_by(store: BaselineStore, key: TestKey, run: Run, gate: Gate, family: int) -> Screening:
    """Judge one metric of a run by the stored runs of its test.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    found = store.look_up(key, gate.metric.name, Conditions.of(run))
    if isinstance(found, Missing):
        return screen_run(run, gate, (), family, missing=found.reason)
    return screen_run(run, gate, found.runs, family)


def drift_from(store: BaselineStore, key: TestKey, run: Run) -> Drift:
    """Compare what a run showed before any timing with the stored facts of its test.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    found = store.look_up_facts(key, Conditions.of_facts(run))
    if isinstance(found, Missing):
        return Drift(reason=found.reason)
    return compare(StoredFacts(found.facts, found.provenance), run.facts)
