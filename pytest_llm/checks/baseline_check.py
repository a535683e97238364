"""A run against the store: what is stored of its test decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.baselines import Conditions, Missing
from pytest_llm.checks import alike, compare, screen_run
from pytest_llm.checks.findings import Drift
from pytest_llm.records import OUTPUT_SNAPSHOT, OutputSnapshot, StoredInvariants, StoredSnapshot
from pytest_llm.records.serialization import decode

if TYPE_CHECKING:
    from pytest_llm.baselines import BaselineStore
    from pytest_llm.checks.findings import BaselineCheck
    from pytest_llm.records import Gate, Run, TestKey


NEVER_RECORDED = "what this test says was never recorded"


def screen_by(store: BaselineStore, key: TestKey, run: Run, gate: Gate, family: int) -> BaselineCheck:
    """Judge one metric of a run by the stored runs of its test.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    found = store.look_up(key, gate.metric.name, Conditions.of(run))
    if isinstance(found, Missing):
        return screen_run(run, gate, (), family, missing=found.reason)
    comparable, left_out = alike(found.runs, run.how_read(gate.metric))
    return screen_run(run, gate, comparable, family, missing=left_out, left_out=left_out)


def drift_from(store: BaselineStore, key: TestKey, run: Run) -> Drift:
    """Compare what a run showed before any timing with the stored facts of its test.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    found = store.look_up_facts(key, Conditions.of_facts(run))
    if isinstance(found, Missing):
        return Drift(reason=found.reason)
    # What was said is judged by itself, and of a test that asks for it.
    invariants = {name: each for name, each in found.invariants.items() if name != OUTPUT_SNAPSHOT}
    return compare(StoredInvariants(invariants, found.provenance), run.invariants)


def stored_snapshot(store: BaselineStore, key: TestKey, run: Run) -> StoredSnapshot | str:
    """Return what is stored of a test's output, or why there is none.

    Raises:
        BaselineError: A stored file cannot be used.
    """
    found = store.look_up_facts(key, Conditions.of_facts(run))
    if isinstance(found, Missing):
        return found.reason
    if OUTPUT_SNAPSHOT not in found.invariants:
        return NEVER_RECORDED
    return StoredSnapshot(decode(OutputSnapshot, found.invariants[OUTPUT_SNAPSHOT]), found.provenance)
