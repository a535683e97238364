"""Tables of error rates: verdicts of this package's rule and of others on the same campaigns."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from pytest_llm.checks.format import ratio
from pytest_llm.records import Gate, Series, Session, Turns, Verdict
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.serialization import decode
from pytest_llm.stats.log_ratios import session_observations
from pytest_llm.stats.sequential import Member, conclude, decide_family, rule_for
from pytest_llm.stats.student_t import quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.stats.log_ratios import Observations

    Line = Mapping[str, Any]
    Rival = Callable[[Sequence[Line], int], bool]

GATES = tuple(
    Gate(METRICS[name], 0.05) for name in ("prompt_tokens_per_second", "generation_tokens_per_second")
)
RULE = rule_for("normal", len(GATES))
LLAMA_BENCH = "llama-bench"
CONFIDENCE = 0.95  # of the bounds that a count allows, one-sided
_SIGNIFICANT = 0.01  # of the paired t-test, shared by both metrics
_STORED_SESSIONS = 5
_THRESHOLD = 0.05


def observations(line: Line, gate: Gate) -> Observations:
    """Return what the sessions of a campaign show."""
    pairs = [
        (_session(ours), _session(theirs))
        for ours, theirs in zip(line["candidate"], line["reference"], strict=True)
    ]
    turns = [{kind: decode(Turns, each) for kind, each in session.items()} for session in line["turns"]]
    return session_observations(gate.metric, pairs, turns)


def _session(series: Mapping[str, Any]) -> Session:
    return Session({name: decode(Series, each) for name, each in series.items()})


def verdict(line: Line) -> Verdict:
    """Return the worse verdict of both metrics, which share the error rate."""
    found = decide_family(RULE, [_member(gate, observations(line, gate)) for gate in GATES])
    verdicts = [each.verdict for each in map(conclude, found) if each.verdict is not None]
    return min(verdicts, key=list(Verdict).index)


def _member(gate: Gate, seen: Observations) -> Member:
    def observe(sessions: int) -> Observations:
        return seen._replace(
            typical=seen.typical[:sessions], whole=None if seen.whole is None else seen.whole[:sessions]
        )

    return Member(gate, observe, len(seen.typical))


def tables(titles: Mapping[str, str], campaigns: Sequence[Line]) -> list[str]:
    """Return Markdown: verdicts of each kind of campaign, those of other rules, and the swapped sides.

    Args:
        titles: Of the kinds, in order.
        campaigns: The lines of the file.
    """
    kinds = [each for each in titles if any(line["kind"] == each for line in campaigns)]
    measured = [each for each in kinds if each != LLAMA_BENCH]
    verdicts = [
        _row(
            *("campaigns", "number", "verdicts", f"bound at {CONFIDENCE:.0%}", "sessions"),
            *("seconds, median and longest", "prompt estimate, sd typical, whole"),
            "generation estimate, sd typical, whole",
        ),
        _row(*["---"] * 8),
        *(_row(titles[kind], *_verdicts(_of(kind, campaigns))) for kind in measured),
    ]
    rivals = [
        _row("called slower", *RIVALS),
        _row(*["---"] * (1 + len(RIVALS))),
        *(_row(titles[kind], *_called(kind, campaigns)) for kind in measured),
    ]
    swapped = [_swapped(titles[kind], _of(kind, campaigns)) for kind in measured if kind.startswith("sham")]
    losses = [_read_as(titles[kind], _of(kind, campaigns)) for kind in measured if kind.startswith("loss")]
    return [*verdicts, "", *rivals, "", *_llama_bench(campaigns), *swapped, *losses]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _of(kind: str, campaigns: Sequence[Line]) -> list[Line]:
    return [each for each in campaigns if each["kind"] == kind]


def _verdicts(mine: Sequence[Line]) -> list[str]:
    verdicts = Counter(verdict(each) for each in mine)
    seconds = [each["seconds"] for each in mine]
    sessions = sorted(Counter(len(each["candidate"]) for each in mine).items())
    return [
        str(len(mine)),
        ", ".join(f"{each.value} {verdicts[each]}" for each in Verdict if verdicts[each]),
        _bound(verdicts[Verdict.REGRESSED], len(mine)),
        ", ".join(f"{count}: {often}" for count, often in sessions),
        f"{median(seconds):.0f}, {max(seconds):.0f}",
        *(_spreads([observations(each, gate) for each in mine]) for gate in GATES),
    ]


def _spreads(seen: Sequence[Observations]) -> str:
    read = math.expm1(fmean(ratio for each in seen for ratio in each.typical))
    spreads = [_sd([each.typical for each in seen]), _sd([each.whole or [] for each in seen])]
    return f"{read:+.1%}, {', '.join(spreads)}".replace("%", " %").replace("-", "−")


def _sd(campaigns: Sequence[Sequence[float]]) -> str:
    found = [stdev(each) for each in campaigns if len(each) > 1]
    return f"{median(found):.1%}" if found else "?"


def _bound(called: int, of: int) -> str:
    """Return what a count of *regressed* allows, on the side that it is far from."""
    if 2 * called <= of:
        return f"regressed ≤ {100 * upper_bound(called, of):.1f} %"
    return f"regressed ≥ {100 * (1 - upper_bound(of - called, of)):.1f} %"


def upper_bound(count: int, of: int, confidence: float = CONFIDENCE) -> float:
    """Return the largest probability with which so few of so many are not too unlikely.

    Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26, 404-413; one-sided.
    """
    low, high = count / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        so_few = sum(
            math.comb(of, each) * middle**each * (1 - middle) ** (of - each) for each in range(count + 1)
        )
        low, high = (middle, high) if so_few > 1 - confidence else (low, middle)
    return high


def _called(kind: str, campaigns: Sequence[Line]) -> list[str]:
    comparable = [each for each in campaigns if each["kind"] != LLAMA_BENCH]
    places = [index for index, each in enumerate(comparable) if each["kind"] == kind]
    return [f"{sum(rule(comparable, at) for at in places)} of {len(places)}" for rule in RIVALS.values()]


def _this_rule(campaigns: Sequence[Line], index: int) -> bool:
    return verdict(campaigns[index]) is Verdict.REGRESSED


def _paired_t(campaigns: Sequence[Line], index: int) -> bool:
    return any(_significant(observations(campaigns[index], gate).typical) for gate in GATES)


def _significant(ratios: Sequence[float]) -> bool:
    if len(ratios) < 2 or not stdev(ratios):
        return False
    statistic = fmean(ratios) / stdev(ratios) * math.sqrt(len(ratios))
    return statistic > quantile(len(ratios) - 1, 1 - _SIGNIFICANT / len(GATES))


def _stored_mean(campaigns: Sequence[Line], index: int) -> bool:
    """Compare with the campaign before, as a stored baseline of one run does."""
    earlier = campaigns[index - 1] if index else campaigns[index]
    return any(
        _token_seconds(campaigns[index]["candidate"], gate)
        > _token_seconds(earlier["reference"], gate) * (1 + _THRESHOLD)
        for gate in GATES
    )


def _token_seconds(sessions: Sequence[Mapping[str, Any]], gate: Gate) -> float:
    found = [_session(each).series[gate.metric.series] for each in sessions[:_STORED_SESSIONS]]
    return sum(sum(each.values) for each in found) / sum(sum(each.each_tokens()) for each in found)


RIVALS: Mapping[str, Rival] = {
    "this rule": _this_rule,
    "paired t-test on the same sessions, 1 %": _paired_t,
    "one stored mean, 5 % threshold": _stored_mean,
}


def _llama_bench(campaigns: Sequence[Line]) -> list[str]:
    """Return how often llama-bench, run twice, differs by the threshold."""
    mine = _of(LLAMA_BENCH, campaigns)
    if not mine:
        return []
    slower = sum(
        any(after < before * (1 - _THRESHOLD) for before, after in zip(*each["runs"], strict=True))
        for each in mine
    )
    changes = [abs(after / before - 1) for each in mine for before, after in zip(*each["runs"], strict=True)]
    return [
        f"llama-bench run twice: more than {ratio(_THRESHOLD)} slower in {slower} of {len(mine)}; the second "
        f"run differs by {100 * median(changes):.1f} % in the median, at most by {100 * max(changes):.1f} %",
        "",
    ]


def _swapped(title: str, mine: Sequence[Line]) -> str:
    """Return the sum of both ways round: zero, if nothing favours the candidate's side."""
    texts = []
    for gate in GATES:
        by_side: dict[str, list[float]] = {"candidate": [], "reference": []}
        for each in mine:
            by_side[each["altered"]].append(fmean(observations(each, gate).typical))
        one, other = by_side.values()
        if min(len(one), len(other)) < 2:
            return f"{title}: too few campaigns to swap sides"
        error = math.sqrt(stdev(one) ** 2 / len(one) + stdev(other) ** 2 / len(other))
        reach = quantile(min(len(one), len(other)) - 1, 0.995) * error
        total = fmean(one) + fmean(other)
        low, total, high = (100 * each for each in (total - reach, total, total + reach))
        change = f"{total:+.2f} % ({low:+.2f} … {high:+.2f})".replace("-", "−")
        texts.append(f"{gate.metric.title} {change}")
    return f"{title}, sum of both ways round (99 % interval): {', '.join(texts)}"


def _read_as(title: str, mine: Sequence[Line]) -> str:
    """Return what an injected loss reads as: the mean of the campaigns' typical estimates."""
    if len(mine) < 2:
        return f"{title}: too few campaigns to say what it reads as"
    texts = []
    for gate in GATES:
        found = [median(observations(each, gate).typical) for each in mine]
        middle = fmean(found)
        reach = quantile(len(found) - 1, 0.995) * stdev(found) / math.sqrt(len(found))
        low, read, high = (100 * math.expm1(each) for each in (middle - reach, middle, middle + reach))
        texts.append(f"{gate.metric.title} {read:+.2f} % ({low:+.2f} … {high:+.2f})".replace("-", "−"))
    return f"{title}, mean of typical estimates (99 % interval): {', '.join(texts)}"
