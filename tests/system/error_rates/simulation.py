"""The paired rule over many simulated runs at once, and what machines may do to a session.

A session's log ratio is the true effect plus noise. The order of the two subjects is a coin flip, so that
whatever happens to one of them might as well have happened to the other: every model of noise here is
symmetric about 0 given its sizes, but the sizes may depend on each other in any way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import stats

from pytest_llm.records import Verdict
from pytest_llm.stats import sequential
from pytest_llm.stats.sequential import Rule  # noqa: TC001

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]
Noise = Callable[[np.random.Generator, int, int, float], Floats]

VERDICTS = (Verdict.INCONCLUSIVE, Verdict.REGRESSED, Verdict.IMPROVED, Verdict.PASS)
INCONCLUSIVE, REGRESSED, IMPROVED, PASS = range(4)
TOLERANCE = 0.05
MARGIN = math.log1p(TOLERANCE)
NEGLIGIBLE = MARGIN * sequential.NEGLIGIBLE
WHOLE_NOISE = 1.75
_AT_ONCE = 500_000  # log ratios, so that they stay within a processor's cache


def independent(source: np.random.Generator, runs: int, sessions: int, sd: float | Floats) -> Floats:
    """Times that are log-normal, each session for itself."""
    return source.normal(0, sd, (runs, sessions))


def drift(source: np.random.Generator, runs: int, sessions: int, sd: float) -> Floats:
    """A trend that wanders from session to session and strikes whichever subject came second."""
    return _coins(source, runs, sessions) * _trend(source, runs, sessions, sd)


def heavy_tails(source: np.random.Generator, runs: int, sessions: int, sd: float) -> Floats:
    """Student's t with three degrees of freedom."""
    return source.standard_t(3, (runs, sessions)) * sd / math.sqrt(3)


def bimodal(source: np.random.Generator, runs: int, sessions: int, sd: float) -> Floats:
    """Each process is placed well or badly: two peaks, and the sessions of both at random."""
    placed: Floats = 0.9 * sd * _coins(source, runs, sessions) + independent(
        source, runs, sessions, sd * 0.44
    )
    return placed


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


HONEST_NOISE: tuple[Noise, ...] = (independent, drift, spikes, bursts, heavy_tails, bimodal)


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
    rule: Rule,
    noise: Noise,
    sd: float,
    effect: float | Floats,
    runs: int,
    seed: int = 1,
    metrics: int | None = None,
    *,
    bias: float = 0.0,
) -> Outcomes:
    """Apply the rule to simulated runs, with as many metrics as its family unless told otherwise.

    Two metrics at a time belong to one workload. Independent metrics are the hard case: alarms that coincide
    are fewer runs with an alarm. The whole observation has 1.75 times the typical one's noise, and a
    correlation of 0.7 with it. ``effect`` is one for all metrics, or one for each; ``bias`` is the spread of
    what belongs to one build, drawn for each run and metric.
    """
    source = np.random.default_rng(seed)
    metrics = metrics or rule.family
    sessions = rule.looks[-1]
    batch = max(1, _AT_ONCE // (metrics * sessions))
    found = []
    for done in range(0, runs, batch):
        count = min(batch, runs - done)
        shape = (count, metrics, sessions)
        one, other = (noise(source, count * metrics, sessions, sd).reshape(shape) for _ in range(2))
        true = np.broadcast_to(np.asarray(effect, float), (count, metrics))
        true = (true + source.normal(0, bias, true.shape))[:, :, None] if bias else true[:, :, None]
        found.append(replay(rule, true + one, true + WHOLE_NOISE * (0.7 * one + math.sqrt(0.51) * other)))
    return Outcomes(
        np.concatenate([each.verdicts for each in found]), np.concatenate([each.sessions for each in found])
    )


def replay(
    rule: Rule, typical: Floats, whole: Floats | None = None, tolerance: float = TOLERANCE
) -> Outcomes:
    """Return what ``decide_family`` says of each run; shapes (runs, metrics, sessions).

    All sizes in a row must differ, and none be 0.
    """
    runs, metrics = typical.shape[:2]
    margin = math.log1p(tolerance)
    null = max(margin * sequential.NEGLIGIBLE, 3 * rule.tau)
    observed = {"typical": typical} | ({} if whole is None else {"whole": whole})
    verdicts: Codes = np.full((runs, metrics), INCONCLUSIVE, np.int8)
    taken = np.full((runs, metrics), rule.looks[-1])
    waiting = np.ones((runs, metrics), bool)
    for look, sessions in enumerate(rule.looks):
        going = waiting.any(axis=1)
        asked = waiting[going]
        last = look == len(rule.looks) - 1
        worse, better, fine, passing = (np.zeros(asked.shape, bool) for _ in range(4))
        fine[:], passing[:] = True, True
        better_or_fine = np.ones(asked.shape, bool)
        for name, values in observed.items():
            seen, level = values[going, :, :sessions], rule.level(look, name)
            p_worse, p_better = p_values(seen - null, asked), p_values(-seen - null, asked)
            p_ok = p_values(margin - seen, asked)
            worse |= step_up(p_worse, rule.family, level)
            gained = step_up(p_better, rule.family, level)
            better |= gained
            within = (p_ok <= rule.beta * rule.beta_weights[look]) & (p_worse > 0.2)
            better_or_fine &= gained | within
            passing &= within & (last | (p_better > 0.2))
        codes = np.where(passing, PASS, INCONCLUSIVE).astype(np.int8)
        codes[better & better_or_fine] = IMPROVED
        codes[worse] = REGRESSED
        codes[~asked] = INCONCLUSIVE
        stopped = np.zeros(asked.shape, bool)
        for one in range(0, metrics, 2):
            stopped[:, one : one + 2] = (codes[:, one : one + 2] == REGRESSED).any(axis=1, keepdims=True)
        ends = asked & ((codes != INCONCLUSIVE) | stopped)
        before, counts, still = verdicts[going], taken[going], waiting[going]
        before[ends], counts[ends], still[ends] = codes[ends], sessions, False
        verdicts[going], taken[going], waiting[going] = before, counts, still
    return Outcomes(verdicts, taken)


def p_values(values: Floats, asked: npt.NDArray[np.bool_]) -> Floats:
    """Return the p-value of each run's metric that is asked about, and 1 of the others."""
    found = np.ones(asked.shape)
    count = values.shape[-1]
    found[asked] = tail(count)[rank_sums(values[asked]).astype(int)]
    return found


@cache
def tail(count: int) -> Floats:
    """Return the chance of at least each sum of positive ranks."""
    ways = np.zeros(count * (count + 1) // 2 + 1)
    ways[0] = 1
    for rank in range(1, count + 1):
        ways[rank:] = ways[rank:] + ways[:-rank]
    return np.cumsum(ways[::-1])[::-1] / 2.0**count


def step_up(p: Floats, family: int, level: float) -> npt.NDArray[np.bool_]:
    """Return which p-values of each run Hochberg's step-up rejects."""
    ascending = np.sort(p, axis=1)
    allowed = level / (max(family, p.shape[1]) - np.arange(p.shape[1]))
    rejected = np.where(ascending <= allowed, ascending, -1.0).max(axis=1, keepdims=True)
    found: npt.NDArray[np.bool_] = p <= rejected
    return found


def at_most(count: int, runs: int, confidence: float = 0.999) -> float:
    """Return the upper limit of Clopper and Pearson (1934) on a rate seen count times."""
    return float(stats.beta.ppf(confidence, count + 1, runs - count)) if count < runs else 1.0


def at_least(count: int, runs: int, confidence: float = 0.999) -> float:
    """Return the lower limit of Clopper and Pearson (1934) on a rate seen count times."""
    return float(stats.beta.ppf(1 - confidence, count, runs - count + 1)) if count else 0.0


def called(rule: Rule, sd: float, loss: float, runs: int) -> float:
    """Return how often a loss in one metric alone is called, as a share of runs."""
    effects = np.zeros(rule.family)
    effects[0] = math.log1p(loss)
    found = simulate(rule, independent, sd, effects, runs)
    return float((found.verdicts[:, 0] == REGRESSED).mean())


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
