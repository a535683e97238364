"""Report of a bisect: lines for people, plain values for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.bisect import interpret
from pytest_llm.bisect.search import Relation
from pytest_llm.checks.drift import sentence
from pytest_llm.checks.format import counted, moved, percent, ratio, resting_on
from pytest_llm.records import metrics
from pytest_llm.records.serialization import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.bisect.bisection import Bisected
    from pytest_llm.bisect.comparisons import PairComparison
    from pytest_llm.bisect.search import Stretch

_OUTPUT = {
    Relation.WORSE: "other output",
    Relation.SAME: "same output",
    Relation.INCONCLUSIVE: "output not compared: one of the two has none",
}


class Report(NamedTuple):
    """The result of a bisect as lines, the same as plain values, and the number of culprits."""

    lines: list[str]
    document: dict[str, Any]
    culprits: int


def lines(found: Bisected) -> list[str]:
    """Return all but the texts for an issue."""
    found_lines = _ends(found)
    for step in found.search.steps:
        found_lines += _step(found, step)
    unfit = [f"{name(found, place)} {why}" for place, why in sorted(found.unfit.items())]
    return [*found_lines, *_doubts(found), *unfit]


def document(found: Bisected) -> dict[str, Any]:
    """Return plain values; ``from`` and ``to`` are places in ``builds``."""
    return {
        "nodeid": found.planned.nodeid,
        "followed": found.target or None,
        "builds": [_build(found, place) for place in range(len(found.builds))],
        "ends": found.search.ends.relation.value,
        "steps": [_stretch(found, each) for each in found.search.steps],
        "unexplained": [_stretch(found, each) for each in found.search.unexplained],
        "unsearched": [_stretch(found, each) for each in found.search.unsearched],
        "comparisons": [_compared(found, each) for each in found.compared],
        "sharing_the_error_rate": found.comparisons,
    }


def name(found: Bisected, place: int) -> str:
    described = found.described.get(place)
    return found.builds[place] if described is None else f"{found.builds[place]}, {described}"


def change(compared: PairComparison, target: str) -> str:
    """Return how the later build compares with the earlier one: "generation speed −9.1 % (…)"."""
    if target == interpret.OUTPUT:
        return _OUTPUT[interpret.answer(compared.results, target).relation]
    title = metrics.find(target).title
    entry = interpret.comparison(compared.results, target)
    if entry is None or entry["change"] is None:
        return f"{title}: {interpret.reason(compared.results, target)}"
    return f"{title} {percent(entry['change'])} ({basis(compared.results, entry)})"


def summary(compared: PairComparison, target: str) -> str:
    """Return the change with its values: "generation speed fell from … to …, −9.1 % (…)"."""
    entry = None if target == interpret.OUTPUT else interpret.comparison(compared.results, target)
    if entry is None or entry["change"] is None:
        return change(compared, target)
    metric = metrics.find(target)
    now = compared.results["tests"][0]["metrics"][target]["value"]
    movement = moved(metric, entry["reference_value"], now, entry["change"])
    return f"{movement}, {percent(entry['change'])} ({basis(compared.results, entry)})"


def basis(results: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """Return the basis of a change: "99 % interval −7.4 … −4.7 %, 15 sessions"."""
    interval = entry["interval"]
    ends = None if interval is None else (interval[0], interval[1])
    return resting_on(ends, 1 - results["rule"]["alpha"], counted(entry["sessions"], "session"))


def passed_over(found: Bisected, step: Stretch) -> list[str]:
    """Return the builds inside a step that could not be tested, with the reasons."""
    return [
        f"{found.builds[place]} {found.unfit[place]}"
        for place in range(step.first + 1, step.last)
        if place in found.unfit
    ]


def error_rate(found: Bisected) -> str:
    rule = found.compared[0].results["rule"]
    return (
        f"the chance that any of the up to {counted(found.comparisons, 'comparison')} of this bisect calls a "
        f"false regression is at most {ratio(rule['alpha'])}; each of them misses one as large as its "
        f"tolerance with a chance of at most {ratio(rule['beta'])}"
    )


def _ends(found: Bisected) -> list[str]:
    good, bad = found.builds[0], found.builds[-1]
    relation = found.search.ends.relation
    if relation is Relation.UNTESTABLE:
        ends = (("good", 0), ("bad", len(found.builds) - 1))
        return [
            f"the {kind} end {found.builds[place]} {found.unfit[place].what}: name another one"
            for kind, place in ends
            if place in found.unfit
        ]
    size = change(found.between(0, len(found.builds) - 1), found.target)
    sentences = {
        Relation.WORSE: f"{bad} is worse than {good}: {size}",
        Relation.BETTER: f"there is a gain between the ends: {bad} is better than {good}: {size}",
        Relation.SAME: f"there is no loss between the ends: {bad} is no worse than {good}: {size}; either "
        "there is none, or the good end has it, too",
        Relation.INCONCLUSIVE: f"inconclusive: {bad} compared with {good}: {size}"
        f"{'' if found.target == interpret.OUTPUT else '; try --effort thorough'}",
    }
    return [sentences[relation]]


def _step(found: Bisected, step: Stretch) -> list[str]:
    compared = found.between(step.first, step.last)
    first, last = name(found, step.first), name(found, step.last)
    if step.answer.relation is Relation.WORSE:
        head = f"culprit: {last}: {summary(compared, found.target)}"
    else:
        head = f"better: {last}: {summary(compared, found.target)}"
    lines = [head, f"  compared with {first}"]
    lines += [f"  {sentence(interpret.drift(compared.results))}"]
    lines += [f"  or this build: {each}" for each in passed_over(found, step)]
    return lines


def _doubts(found: Bisected) -> list[str]:
    unexplained = [
        f"between {found.builds[each.first]} and {found.builds[each.last]} is a change that no step explains"
        f": {change(found.between(each.first, each.last), found.target)}"
        for each in found.search.unexplained
    ]
    quiet = [f"{found.builds[each.first]} … {found.builds[each.last]}" for each in found.search.unsearched]
    if not quiet:
        return unexplained
    return [
        *unexplained,
        f"not searched, because their ends do not differ: {'; '.join(quiet)} (--neighbours compares every "
        "build with the one before it)",
    ]


def _build(found: Bisected, place: int) -> dict[str, Any]:
    described, unfit = found.described.get(place), found.unfit.get(place)
    return {
        "build": found.builds[place],
        "described": None if described is None else encode(described),
        "unfit": None if unfit is None else encode(unfit),
    }


def _stretch(found: Bisected, stretch: Stretch) -> dict[str, Any]:
    compared = found.between(stretch.first, stretch.last)
    between: Sequence[int] = [
        place for place in range(stretch.first + 1, stretch.last) if place in found.unfit
    ]
    return {
        "from": stretch.first,
        "to": stretch.last,
        "relation": stretch.answer.relation.value,
        "cannot_be_tested": between,
        **_figures(compared, found.target),
        "drift": [encode(each) for each in interpret.drift(compared.results).differences],
    }


def _compared(found: Bisected, compared: PairComparison) -> dict[str, Any]:
    return {
        "from": compared.first,
        "to": compared.last,
        "relation": interpret.answer(compared.results, found.target).relation.value,
        **_figures(compared, found.target),
        "seconds": compared.seconds,
    }


def _figures(compared: PairComparison, target: str) -> dict[str, Any]:
    entry = None if target == interpret.OUTPUT else interpret.comparison(compared.results, target)
    names = ("change", "interval", "sessions")
    return {each: None if entry is None else entry[each] for each in names}
