"""Read the results of one comparison, for a metric or for the output."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_llm.bisect.search import PairResult, Relation
from pytest_llm.checks.drift import OUTPUT as _OUTPUTS
from pytest_llm.checks.drift import has_output
from pytest_llm.checks.findings import Difference, Drift
from pytest_llm.errors import UnknownNameError
from pytest_llm.records import Verdict, metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.bisect.pytest_runner import Planned

# A target, besides the metrics that a test gates.
OUTPUT = "output"

_RELATIONS = {
    Verdict.REGRESSED: Relation.WORSE,
    Verdict.IMPROVED: Relation.BETTER,
    Verdict.PASS: Relation.SAME,
    Verdict.INCONCLUSIVE: Relation.INCONCLUSIVE,
    Verdict.NOT_JUDGED: Relation.INCONCLUSIVE,
}
# Outputs are the same or not: one change is one whole.
_OTHER = PairResult(Relation.WORSE, 1.0, 1.0, 1.0)
_ALIKE = PairResult(Relation.SAME, 0.0, 0.0, 0.0)


def check(target: str, planned: Planned) -> None:
    """Raise ``UnknownNameError`` unless the test gates the target or the target is the output."""
    known = [*(gate.metric.name for gate in planned.gates), OUTPUT]
    if target not in known:
        raise UnknownNameError("--metric", target, known, fix="llm_no_regression names what a test gates")


def choose(results: Mapping[str, Any], planned: Planned) -> str:
    """Return the target, by what both ends show: the first of a loss, another output, a gain, any."""
    answers = {gate.metric.name: answer(results, gate.metric.name) for gate in planned.gates}
    worse = [name for name, each in answers.items() if each.relation is Relation.WORSE]
    better = [name for name, each in answers.items() if each.relation is Relation.BETTER]
    other = [OUTPUT] if answer(results, OUTPUT).differs else []
    return [*worse, *other, *better, *answers, OUTPUT][0]


def answer(results: Mapping[str, Any], target: str) -> PairResult:
    if target == OUTPUT:
        return _of_output(drift(results))
    found = comparison(results, target)
    if found is None or found["change"] is None:
        return PairResult(Relation.INCONCLUSIVE)
    higher = metrics.find(target).better == "higher"
    ends = found["interval"] or (None, None)
    low, high = sorted(
        _log_ratio(each, higher, end) for each, end in zip(ends, (-math.inf, math.inf), strict=True)
    )
    relation = _RELATIONS[Verdict(found["verdict"])]
    return PairResult(relation, _log_ratio(found["change"], higher, 0.0), low, high)


def comparison(results: Mapping[str, Any], target: str) -> dict[str, Any] | None:
    """Return a gated metric's comparison; None if it could not be measured."""
    entry = _test(results)["metrics"].get(target)
    return entry["comparison"] if entry is not None else None


def drift(results: Mapping[str, Any]) -> Drift:
    found = _test(results)["drift"]
    if found is None:
        return Drift()
    differences = tuple(Difference(**each) for each in found["differences"])
    shown = (run["invariants"] for run in results["runs"].values())
    return Drift(differences, found["reason"], output=has_output(*shown))


def reason(results: Mapping[str, Any], target: str) -> str:
    found = comparison(results, target)
    if found is not None:
        return str(found["reason"])
    missing = [each["reason"] for each in results["not_covered"] if each["metric"] == target]
    return missing[0] if missing else ""


def _test(results: Mapping[str, Any]) -> dict[str, Any]:
    test: dict[str, Any] = results["tests"][0]
    return test


def _of_output(found: Drift) -> PairResult:
    if any(each.name in _OUTPUTS for each in found.differences):
        return _OTHER
    return _ALIKE if found.output and not found.reason else PairResult(Relation.INCONCLUSIVE)


def _log_ratio(change: float | None, higher: bool, otherwise: float) -> float:
    """Return a log ratio of times or sizes: positive is worse."""
    if change is None:
        return otherwise
    return -math.log1p(change) if higher else math.log1p(change)
