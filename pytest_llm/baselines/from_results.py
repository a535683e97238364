"""What of a results file can be stored: the runs and facts of tests that kept what they promise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines.records import Conditions, Entry, InvariantsEntry, Refusal
from pytest_llm.records import ALWAYS_FAILING, OUTPUT_SNAPSHOT, Provenance, Run, TestKey, Verdict
from pytest_llm.records.metrics import find
from pytest_llm.records.serialization import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.baselines.records import Mode


@dataclass(frozen=True)
class Taken:
    """What a results file offers to a store, and which of its tests it leaves out."""

    runs: tuple[Entry, ...]
    invariants: tuple[InvariantsEntry, ...]
    left_out: tuple[Refusal, ...]


def take(results: Mapping[str, Any], mode: Mode) -> Taken:
    """Return what of a results file is to be stored.

    A test that failed is left out, since its run would teach the baseline that this is how things are; unless
    the mode is ``replace``, which says just that.

    Args:
        results: Of the shape of results-v1, checked.
        mode: What the entries are for.
    """
    made: dict[str, Run] = {
        name: decode(Run, {**entry, "measurements": {}}) for name, entry in results["runs"].items()
    }
    started = datetime.fromisoformat(results["started"])
    runs, invariants, left_out = [], [], []
    for test in results["tests"]:
        key = TestKey(**test["key"])
        if test["run"] is None or not test["metrics"]:
            left_out.append(Refusal(key, "was not measured"))
        elif mode != "replace" and _fell_short(test):
            left_out.append(Refusal(key, "did not pass: replace its baseline if this is as it should be"))
        else:
            run = made[test["run"]]
            source = Provenance.of(run.build, started, results["plugin_version"])
            values = {
                name: float(metric["value"])
                for name, metric in test["metrics"].items()
                if not find(name).slope  # about 0: there is no share of it that could be a tolerance
            }
            notes = {name: note for name in values if (note := run.how_read(find(name)))}
            runs.append(Entry(key, Conditions.of(run), source, values, notes))
            told = {**run.invariants, **_said(test, mode)}
            if told:
                invariants.append(InvariantsEntry(key, Conditions.of_facts(run), source, told))
    return Taken(tuple(runs), tuple(invariants), tuple(left_out))


def _said(test: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """Return what the test said, unless that is as far as may be from what is stored already."""
    output = test.get("output") or {}
    said = output.get("snapshot")
    if not said or (mode != "replace" and output["verdict"] == Verdict.PASS.value):
        return {}
    return {OUTPUT_SNAPSHOT: said}


def _fell_short(test: Mapping[str, Any]) -> bool:
    """Whether a test failed for any other reason than that nothing certain could be said."""
    found = {
        Verdict(metric[part]["verdict"])
        for metric in test["metrics"].values()
        for part in ("limit", "baseline", "comparison", "claim")
        if metric[part] is not None
    }
    if test["drift"] is not None and test["drift"]["verdict"] is not None:
        found.add(Verdict(test["drift"]["verdict"]))
    if test.get("output") is not None:
        found.add(Verdict(test["output"]["verdict"]))
    open_questions = found & {Verdict.DRIFT, Verdict.INCONCLUSIVE, Verdict.NO_BASELINE, Verdict.NOT_COVERED}
    return bool(found & ALWAYS_FAILING) or (test["outcome"] != "passed" and not open_questions)
