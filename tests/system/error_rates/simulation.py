"""The paired rule over many simulated runs at once, and what machines may do to a session.

A session's log ratio is the true effect plus noise. The order of the two subjects is a coin flip, so that
whatever happens to one of them might as well have happened to the other: every model of noise here is
symmetric about 0 given its sizes, but the sizes may depend on each other in any way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from pytest_llm.records import Verdict
from pytest_llm.stats.sequential import Rule, rule_for
from pytest_llm.stats.signed_rank import critical_sum

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]
Noise = Callable[[np.random.Generator, int, int, float], Floats]

VERDICTS = (Verdict.INCONCLUSIVE, Verdict.REGRESSED, Verdict.IMPROVED, Verdict.PASS)
INCONCLUSIVE, REGRESSED, IMPROVED, PASS = range(4)
TOLERANCE = 0.05
MARGIN = math.log1p(TOLERANCE)
NEGLIGIBLE = MARGIN / 5
_AT_ONCE = 500_000  # log ratios, so that they stay within a processor's cache


def independent(source: np.random.Generator, runs: int, sessions: int, sd: float | Floats) -> Floats:
    """Times that are log-normal, each session for itself."""
    return source.normal(0, sd, (runs, sessions))


def drift(source: np.random.Generator, runs: int, sessions: int, sd: float) -> Floats:
    """A trend that wanders from session to session and strikes whichever subject came second."""
    return _coins(source, runs, sessions) * _trend(source, runs, sessions, sd)


def drift_in_fixed_order(source: np.random.Generator, runs: int, sessions: int, sd: float) -> Floats:
    """The same trend where the candidate always comes second: what the coin is there to prevent."""
    return _trend(source, runs, sessions, sd)


def spikes(source: np.random.Generator, runs: int, sessions: int, sd: float) -> Floats:
    """One subject in ten is slowed by something else on the machine, on average by ten times the sd."""
    slowed = source.random((2, runs, sessions)) < 0.1
    delays = np.where(slowed, source.exponential(10 * sd, (2, runs, sessions)), 0.0)
    noise: Floats = independent(source, runs, sessions, sd) + delays[0] - delays[1]
    return noise


def bursts(source: np.random.Generator, runs: int, sessions: int, sd: float) -> Floats:
    """The machine is quiet or busy for a few sessions on end; busy, it scatters eight times as much."""
    turns = source.random((runs, sessions)) < 0.2
    start = source.integers(0, 2, (runs, 1))
    factor = np.where((start + np.cumsum(turns, axis=1)) % 2, 8.0, 1.0)
    return independent(source, runs, sessions, sd * factor)


HONEST_NOISE: tuple[Noise, ...] = (independent, drift, spikes, bursts)


@dataclass(frozen=True)
class Outcomes:
    """What the rule said, shape (runs, metrics).

    Attributes:
        verdicts: Indices of ``VERDICTS``.
        sessions: How many it took.
    """

    verdicts: Codes
    sessions: npt.NDArray[np.int64]

    def any_of(self, verdict: int) -> int:
        """Return how many runs have that verdict on at least one of their metrics."""
        return int((self.verdicts == verdict).any(axis=1).sum())

    def share(self, verdict: int) -> float:
        """Return the share of metrics with that verdict."""
        return float((self.verdicts == verdict).mean())


def simulate(
    rule: Rule, noise: Noise, sd: float, effect: float, runs: int, seed: int = 1, metrics: int | None = None
) -> Outcomes:
    """Apply the rule to simulated runs of independent metrics, as many as its family unless told otherwise.

    Independent metrics are the hard case: alarms that coincide are fewer runs with an alarm.
    """
    source = np.random.default_rng(seed)
    metrics = metrics or rule.family
    sessions = rule.looks[-1]
    batch = max(1, _AT_ONCE // (metrics * sessions))
    found = []
    for done in range(0, runs, batch):
        rows = min(batch, runs - done) * metrics
        found.append(replay(rule, effect + noise(source, rows, sessions, sd), TOLERANCE))
    verdicts = np.concatenate([each.verdicts for each in found])
    taken = np.concatenate([each.sessions for each in found])
    return Outcomes(verdicts.reshape(runs, metrics), taken.reshape(runs, metrics))


def replay(rule: Rule, log_ratios: Floats, tolerance: float) -> Outcomes:
    """Return what ``decide`` says of each row; all sizes in a row must differ, and none be 0."""
    margin = math.log1p(tolerance)
    verdicts: Codes = np.full(len(log_ratios), INCONCLUSIVE, np.int8)
    taken = np.full(len(log_ratios), rule.looks[-1])
    rows = np.arange(len(log_ratios))
    for look, sessions in enumerate(rule.looks):
        codes = _look(rule, look, log_ratios[rows, :sessions], margin)
        verdicts[rows] = codes
        taken[rows] = sessions
        rows = rows[codes == INCONCLUSIVE]
    return Outcomes(verdicts[:, None], taken[:, None])


def at_most(count: int, runs: int, confidence: float = 0.999) -> float:
    """Return the upper limit of Clopper and Pearson (1934) on a rate seen count times."""
    return float(stats.beta.ppf(confidence, count + 1, runs - count)) if count < runs else 1.0


def at_least(count: int, runs: int, confidence: float = 0.999) -> float:
    """Return the lower limit of Clopper and Pearson (1934) on a rate seen count times."""
    return float(stats.beta.ppf(1 - confidence, count, runs - count + 1)) if count else 0.0


@dataclass(frozen=True)
class Row:
    """What to expect of a machine with that spread, as shares of runs; sessions as means over runs.

    Attributes:
        sd: Of one session's log ratio.
        passes: A/A: every metric passes.
        sessions_to_pass: Until the last metric of a run is decided.
        called: 5 % slower in every metric: at least one is called.
        called_each: The same, as a share of metrics.
        sessions_to_call: As above.
        false_alarms: Slower by just too little to matter: at least one metric is called.
    """

    sd: float
    passes: float
    sessions_to_pass: float
    called: float
    called_each: float
    sessions_to_call: float
    false_alarms: float


def table(runs: int = 20_000, family: int = 2) -> list[Row]:
    """Return a row for each of the spreads 1, 2, 3 and 4 %, with independent sessions and effort normal."""
    return [_row(rule_for("normal", family), sd, runs) for sd in (0.01, 0.02, 0.03, 0.04)]


def _row(rule: Rule, sd: float, runs: int) -> Row:
    same, slower, little = (
        simulate(rule, independent, sd, effect, runs) for effect in (0.0, MARGIN, NEGLIGIBLE)
    )
    return Row(
        sd=sd,
        passes=float((same.verdicts == PASS).all(axis=1).mean()),
        sessions_to_pass=float(same.sessions.max(axis=1).mean()),
        called=slower.any_of(REGRESSED) / runs,
        called_each=slower.share(REGRESSED),
        sessions_to_call=float(slower.sessions.max(axis=1).mean()),
        false_alarms=little.any_of(REGRESSED) / runs,
    )


def _look(rule: Rule, look: int, seen: Floats, margin: float) -> Codes:
    level = rule.level(look)
    worse, better = seen - margin / 5, -seen - margin / 5
    passes = significant(margin - seen, rule.beta * rule.weights[look])
    passes[passes] = ~significant(worse[passes], 0.2)
    if look < len(rule.looks) - 1:
        passes[passes] = ~significant(better[passes], 0.2)
    codes = np.where(passes, PASS, INCONCLUSIVE).astype(np.int8)
    codes[significant(better, level)] = IMPROVED
    codes[significant(worse, level)] = REGRESSED
    return codes


def significant(values: Floats, level: float) -> npt.NDArray[np.bool_]:
    """Return for each row whether its values lie above 0 at that level; without ties and zeros."""
    count = values.shape[1]
    needed = critical_sum(count, level)
    if needed is None:
        return np.zeros(len(values), bool)
    # Most rows have too many values below 0 to need their ranks.
    spare = count * (count + 1) // 2 - needed
    few = (math.isqrt(8 * spare + 1) - 1) // 2
    found: npt.NDArray[np.bool_] = (values < 0).sum(axis=1) <= few
    found[found] = rank_sums(values[found]) >= needed
    return found


def rank_sums(values: Floats) -> Floats:
    """Return the sum of the positive values' ranks by size, for each row; without ties and zeros."""
    # The sign rides along in the lowest bit of the size: one sort, and many times faster than argsort.
    bits = np.abs(values).view(np.uint64) & ~np.uint64(1) | (values > 0)
    bits.sort(axis=1)
    ranks = np.arange(1.0, values.shape[1] + 1)
    sums: Floats = (bits & np.uint64(1)).astype(np.float64) @ ranks
    return sums


def _coins(source: np.random.Generator, runs: int, sessions: int) -> Floats:
    return source.choice([-1.0, 1.0], (runs, sessions))


def _trend(source: np.random.Generator, runs: int, sessions: int, sd: float) -> Floats:
    """Return an autoregressive process of that sd, with 0.9 of a session left in the next."""
    shocks = source.standard_normal((runs, sessions)) * sd
    values = np.empty_like(shocks)
    values[:, 0] = shocks[:, 0]
    for session in range(1, sessions):
        values[:, session] = 0.9 * values[:, session - 1] + math.sqrt(1 - 0.9**2) * shocks[:, session]
    return values
