"""The table of error rates: verdicts of each rule on the same campaigns."""

from __future__ import annotations

import math
import random
from collections import Counter
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from scipy import stats

from pytest_llm.records import Series, Session
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.log_ratios import session_observations
from pytest_llm.stats.sequential import conclude, decide, rule_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Line = dict[str, Any]
    Naive = Callable[[Sequence[Line], int, str], bool]

NAMES = ("prompt_tokens_per_second", "generation_tokens_per_second")
RULE = rule_for("normal", len(NAMES))
TOLERANCE = 0.05
RESAMPLED = 1000


def log_ratios(line: Line, name: str) -> list[float]:
    """Return one log ratio per session."""
    sessions = [
        tuple(Session({series: Series(**each[series]) for series in each}) for each in pair)
        for pair in zip(line["candidate"], line["reference"], strict=True)
    ]
    return session_observations(METRICS[name], [(ours, theirs) for ours, theirs in sessions]).typical


def verdict(ratios: Sequence[float]) -> str:
    """Return the paired rule's verdict on one metric."""
    found = conclude(decide(RULE, ratios, TOLERANCE)).verdict
    assert found is not None
    return found.value


def lines(campaigns: Sequence[Line]) -> list[str]:
    """Return the table, with the size of each sample."""
    rows = []
    for share in sorted({each["injected"] for each in campaigns}):
        rows += _of_share(share, campaigns)
    return rows


def _of_share(share: float, campaigns: Sequence[Line]) -> list[str]:
    mine = [each for each in campaigns if each["injected"] == share]
    seconds = sorted(each["seconds"] for each in mine)
    sessions = Counter(len(each["candidate"]) for each in mine)
    rows = [
        f"{share:.0%} injected: {len(mine)} campaigns, median {median(seconds):.0f} s, longest "
        f"{seconds[-1]:.0f} s, sessions {dict(sorted(sessions.items()))}"
    ]
    verdicts = [tuple(verdict(log_ratios(each, name)) for name in NAMES) for each in mine]
    rows.append(f"  campaigns: {_campaigns(verdicts)}")
    for place, name in enumerate(NAMES):
        ratios = [ratio for each in mine for ratio in log_ratios(each, name)]
        within = [stdev(log_ratios(each, name)) for each in mine]
        rows.append(
            f"  {METRICS[name].title}: {dict(Counter(each[place] for each in verdicts))}; read as "
            f"{math.expm1(fmean(ratios)):+.2%}, sd of a session {median(within):.2%}"
        )
    rows.append(f"  {RESAMPLED} resampled campaigns: {_resampled(mine)}")
    for title, rule in NAIVE.items():
        called = sum(
            any(rule(campaigns, index, series) for series in ("prompt", "generation"))
            for index, each in enumerate(campaigns)
            if each["injected"] == share
        )
        rows.append(f"  {title}: {called} of {len(mine)} called slower")
    return rows


def _campaigns(verdicts: Iterable[tuple[str, ...]]) -> str:
    order = ["regressed", "inconclusive", "improved", "pass"]
    counted = Counter(min(each, key=order.index) for each in verdicts)
    return ", ".join(f"{verdict} {counted[verdict]}" for verdict in order if counted[verdict])


def _resampled(mine: Sequence[Line]) -> str:
    """Draw sessions of all campaigns with replacement, both metrics of a session together."""
    source = random.Random(0)
    pool = [pair for each in mine for pair in zip(*(log_ratios(each, name) for name in NAMES), strict=True)]
    verdicts = []
    for _ in range(RESAMPLED):
        drawn = source.choices(pool, k=RULE.looks[-1])
        verdicts.append(tuple(verdict(ratios) for ratios in zip(*drawn, strict=True)))
    return _campaigns(verdicts)


def _slices(line: Line, side: str, session: int, series: str) -> list[float]:
    values: list[float] = line[side][session][series]["values"]
    return values


def stored_mean(campaigns: Sequence[Line], index: int, series: str) -> bool:
    """The mean of one earlier run, and a threshold of 5 %."""
    earlier = campaigns[index - 1] if index else campaigns[index]
    before = fmean(each for session in range(5) for each in _slices(earlier, "reference", session, series))
    candidate = campaigns[index]
    now = fmean(each for session in range(5) for each in _slices(candidate, "candidate", session, series))
    return now > before * (1 + TOLERANCE)


def welch(campaigns: Sequence[Line], index: int, series: str) -> bool:
    """Welch's t-test on one block of slices each."""
    ours, theirs = _blocks(campaigns[index], series)
    return bool(stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater").pvalue < 0.01)


def mann_whitney(campaigns: Sequence[Line], index: int, series: str) -> bool:
    """The Mann-Whitney test on one block of slices each."""
    ours, theirs = _blocks(campaigns[index], series)
    return bool(stats.mannwhitneyu(ours, theirs, alternative="greater").pvalue < 0.01)


def two_runs(campaigns: Sequence[Line], index: int, series: str) -> bool:
    """The means of five repetitions each, and a threshold of 5 %."""
    ours, theirs = _blocks(campaigns[index], series)
    return fmean(ours[:5]) > fmean(theirs[:5]) * (1 + TOLERANCE)


def _blocks(line: Line, series: str) -> tuple[list[float], list[float]]:
    # One after the other, as two runs are: the reference's slices of a session, the candidate's of the next.
    return _slices(line, "candidate", 1, series), _slices(line, "reference", 0, series)


NAIVE: dict[str, Naive] = {
    "one stored mean, 5 % threshold": stored_mean,
    "Welch's t-test on a block each, 1 %": welch,
    "Mann-Whitney on a block each, 1 %": mann_whitney,
    "two runs of five repetitions, 5 % threshold": two_runs,
}
