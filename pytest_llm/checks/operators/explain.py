"""Explanation of operator profiles; it stands beside a verdict and is none itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.format import counted, percent, span
from pytest_llm.records import Verdict
from pytest_llm.stats.operators import ALPHA, operator_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.checks.findings import Comparison
    from pytest_llm.records import OperatorRun, Phase
    from pytest_llm.records.metric import Metric
    from pytest_llm.stats.operators import OperatorChange


# A metric's kind of work; a whole request has both.
_PHASES: dict[str, tuple[Phase, ...]] = {
    "prompt": ("prompt",),
    "first_token": ("prompt",),
    "generation": ("generation",),
    "inter_token": ("generation",),
    "request": ("prompt", "generation"),
}


def slower_phases(comparisons: Sequence[Comparison]) -> tuple[Phase, ...]:
    """Return the kinds of work in which a gate regressed."""
    slower = [each.asked.metric for each in comparisons if each.verdict is Verdict.REGRESSED]
    return tuple(dict.fromkeys(phase for metric in slower for phase in phases(metric)))


def phases(metric: Metric) -> tuple[Phase, ...]:
    """Return the kinds of work that a metric times; none for memory and loading."""
    return _PHASES.get(metric.series, ())


def lines(run: OperatorRun) -> list[str]:
    """Return sentences: the operations that differ, the basis, and what was not compared."""
    compared = operator_changes(run)
    sentences = [*_found(run, compared), *_basis(run, compared)] if compared else []
    missing = "; ".join(run.not_covered)
    return [*sentences, f"{run.phase}: operators not compared: {missing}"] if missing else sentences


def _found(run: OperatorRun, compared: Sequence[OperatorChange]) -> list[str]:
    differing = sorted((each for each in compared if each.differs), key=lambda each: -(each.share or 0))
    rest = _rest(compared, len(differing))
    if not differing:
        return [f"{run.phase}: {rest}"]
    return [f"{run.phase}: {'; '.join([*(_one(each) for each in differing), rest])}"]


def _one(change: OperatorChange) -> str:
    assert change.interval is not None
    size = percent(abs(change.change)).lstrip("+")
    way = "more" if change.change > 0 else "less"
    share = "" if change.share is None else f" and is {_part(change.share)} of the operators' time"
    return f"{change.case} takes {size} {way} time ({span(change.interval)}){share}"


def _part(share: float) -> str:
    return f"{share * 100:.0f} %"


def _rest(compared: Sequence[OperatorChange], differing: int) -> str:
    others = [each.interval for each in compared if not each.differs]
    if not others:
        return "no other operator was compared"
    noun = "other operator" if differing else "operator"
    known = [each for each in others if each is not None]
    parts = []
    if known:
        within = span((min(low for low, _ in known), max(high for _, high in known)))
        parts.append(f"of {counted(len(known), noun)} none differs ({within})")
    if len(known) < len(others):
        unknown = counted(len(others) - len(known), noun)
        parts.append(f"of {unknown} nothing is certain in the time that was left")
    return "; ".join(parts)


def _basis(run: OperatorRun, compared: Sequence[OperatorChange]) -> list[str]:
    repeated = [len(each.candidate) for each in run.times if each.candidate]
    shapes = "the model's own shapes" if run.shapes == "model" else "upstream's built-in shapes"
    threads = counted(run.threads, "thread")
    if run.threads != run.asked_threads:
        threads += f" (upstream takes half of the machine's; the subject has {run.asked_threads})"
    shares = [each.share for each in compared if each.share is not None]
    if shares:
        shapes += f", {_part(sum(shares))} of the time of all that were measured"
    basis = [
        f"by upstream's test-backend-ops on {shapes}",
        f"{counted(max(repeated), 'repetition')} interleaved",
        f"{_part(1 - ALPHA)} intervals for all together",
        threads,
        *run.notes,
    ]
    return [f"{run.phase}, {', '.join(basis)}"]
