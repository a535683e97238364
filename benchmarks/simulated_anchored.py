"""Error rates of ratios to an anchor, by simulation.

    uv run python -m benchmarks.simulated_anchored

Prints, for 3 to 20 stored ratios, how often a loss of 5 % in one of m gates is called, with the spread of
that gate alone and with the spread pooled over all gates; how often any gate of an equal build is called, and
how often one of them passes. Ratios are normal; a speed's whole one spreads more than its typical one.
"""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.records import Verdict
from pytest_llm.stats.prediction import ALPHA, predict, spread_of
from pytest_llm.stats.sequential import SHARES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.stats.prediction import Spread

TYPICAL, WHOLE, CORRELATION = 0.0066, 0.010, 0.7
TOLERANCE, LOSS = 0.05, math.log1p(0.05)
STORED, FAMILIES = (3, 5, 10, 20), (2, 24)


@dataclass(frozen=True)
class Row:
    """Shares of simulated runs.

    Attributes:
        stored: Ratios stored of each gate.
        family: How many gates there are.
        pooled: The spread is that of all gates.
        called: A loss of 5 % in one gate is called.
        alarms: Any gate of an equal build is called.
        passes: A gate of an equal build passes.
    """

    stored: int
    family: int
    pooled: bool
    called: float
    alarms: float
    passes: float


def table(runs: int, seed: int = 0) -> Iterator[Row]:
    """Yield a row for each number of stored ratios, each family and each kind of spread."""
    source = random.Random(seed)
    for family in FAMILIES:
        for pooled in (False, True):
            for stored in STORED:
                yield _row(source, runs, stored, family, pooled=pooled)


def _row(source: random.Random, runs: int, stored: int, family: int, *, pooled: bool) -> Row:
    called = alarms = passes = 0
    for _ in range(runs):
        gates = [[_ratios(source) for _ in range(stored)] for _ in range(family)]
        new = [_ratios(source) for _ in range(family)]
        shared = _spreads(gates) if pooled else None
        found = [_judged(gates[k], new[k], shared or _spreads([gates[k]]), family) for k in range(family)]
        alarms += Verdict.REGRESSED in found
        passes += found.count(Verdict.PASS)
        slower = (new[0][0] + LOSS, new[0][1] + LOSS)
        called += _judged(gates[0], slower, shared or _spreads(gates[:1]), family) is Verdict.REGRESSED
    return Row(stored, family, pooled, called / runs, alarms / runs, passes / runs / family)


def _ratios(source: random.Random) -> tuple[float, float]:
    first, second = source.gauss(0, 1), source.gauss(0, 1)
    other = CORRELATION * first + math.sqrt(1 - CORRELATION**2) * second
    return TYPICAL * first, WHOLE * other


def _spreads(gates: list[list[tuple[float, float]]]) -> list[Spread | None]:
    return [spread_of([[each[which] for each in gate] for gate in gates]) for which in (0, 1)]


def _judged(
    stored: list[tuple[float, float]], new: tuple[float, float], spreads: list[Spread | None], family: int
) -> Verdict:
    found = []
    for which, share in enumerate(SHARES.values()):
        own, alpha = [each[which] for each in stored], ALPHA * share / family
        found.append(predict(own, new[which], TOLERANCE, spreads[which], alpha=alpha).verdict)
    return min(found, key=list(Verdict).index)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000)
    arguments = parser.parse_args()
    print("| gates | spread | stored ratios | 5 % slower: called | equal: any alarm | equal: pass |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in table(arguments.runs):
        kind = "pooled" if row.pooled else "alone"
        shares = f"{row.called:.1%} | {row.alarms:.2%} | {row.passes:.1%}"
        print(f"| {row.family} | {kind} | {row.stored} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
