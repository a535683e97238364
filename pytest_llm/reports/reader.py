"""From a results file back to records, so that whatever judged a run can judge it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.checks.findings import OutputJudgement
from pytest_llm.records import (
    Claim,
    Gate,
    Limit,
    OperatorRun,
    PairedRun,
    Provenance,
    Run,
    StoredInvariants,
    StoredRun,
    metrics,
)
from pytest_llm.records.serialization import decode

if TYPE_CHECKING:
    from collections.abc import Mapping


def runs(results: Mapping[str, Any]) -> dict[str, Run]:
    """Return the runs of a results file by the names that its tests use.

    Their metrics are left out: they follow from the sessions (``stats.summary.summarize_all``).
    """
    return {name: decode(Run, {**entry, "measurements": {}}) for name, entry in results["runs"].items()}


def limits(test: Mapping[str, Any]) -> list[Limit]:
    """Return the limits that a test of a results file was judged by."""
    return [
        Limit(metrics.find(name), entry["limit"]["bound"])
        for name, entry in test["metrics"].items()
        if entry["limit"] is not None
    ]


def gates(test: Mapping[str, Any]) -> list[tuple[Gate, tuple[StoredRun, ...]]]:
    """Return the gates of a test of a results file, each with the stored runs that it was judged by."""
    baselines = {name: metric["baseline"] for name, metric in test["metrics"].items() if metric["baseline"]}
    return [
        (Gate(metrics.find(name), each["tolerance"]), tuple(StoredRun.of(**run) for run in each["runs"]))
        for name, each in baselines.items()
    ]


def stored_facts(drift: Mapping[str, Any]) -> StoredInvariants | None:
    """Return the facts that a test of a results file was compared with, by its drift; None without any."""
    if drift["stored"] is None:
        return None
    provenance = {name: each for name, each in drift["stored"].items() if name != "invariants"}
    return StoredInvariants(drift["stored"]["invariants"], Provenance(**provenance))


def pairs(results: Mapping[str, Any], made: Mapping[str, Run] | None = None) -> dict[str, PairedRun]:
    """Return the pairs of a results file by the names that its comparisons use.

    Args:
        results: The file's content.
        made: Its runs, where they were read already.
    """
    made = runs(results) if made is None else made
    return {
        name: PairedRun(
            made[pair["candidate"]],
            made[pair["reference"]],
            tuple(pair["dropped"]),
            tuple(pair["disturbed"]),
            pair["not_interleaved"],
            pair["cut_off"],
        )
        for name, pair in results["pairs"].items()
    }


def questions(
    test: Mapping[str, Any], paired: Mapping[str, PairedRun]
) -> list[tuple[Gate | Claim, PairedRun]]:
    """Return what a test of a results file asked of pairs, each with the pair that answered.

    Args:
        test: Of the results file.
        paired: Its pairs, by name.
    """
    found: list[tuple[Gate | Claim, PairedRun]] = []
    for name, entry in test["metrics"].items():
        metric = metrics.find(name)
        if entry["comparison"] is not None:
            pair = paired[entry["comparison"]["pair"]]
            found.append((Gate(metric, entry["comparison"]["tolerance"]), pair))
        if entry["claim"] is not None:
            pair = paired[entry["claim"]["pair"]]
            found.append((Claim(metric, entry["claim"]["by"], pair.reference.subject), pair))
    return found


def output(test: Mapping[str, Any]) -> OutputJudgement | None:
    """Return the judgement of a candidate's output in a test of a results file."""
    entry = test.get("output")
    return None if entry is None else decode(OutputJudgement, entry)


def operators(test: Mapping[str, Any]) -> tuple[OperatorRun, ...]:
    """Return what was measured of operators for a test of a results file."""
    entries = test.get("operators", [])
    return tuple(
        decode(OperatorRun, {name: each for name, each in entry.items() if name != "found"})
        for entry in entries
    )
