"""Tolerance of an output comparison: a multiple of the reference's distance from its own benign variants."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pytest_llm.records import Contrast

# Each variant rounds one thing differently. Two builds that round independently of each other are twice as
# far apart; the rest is a safety margin. docs/output.md has the measurements.
MARGIN = 4.0
# A divergence grows with the square of the change of a logarithm.
_LEAD_MARGIN = math.sqrt(MARGIN)


class Tolerance(NamedTuple):
    """The largest values of a :class:`~pytest_llm.records.Divergence` that are rounding, in nats."""

    mean_kl: float
    tail_kl: float
    lead_change: float


def tolerance(contrast: Contrast) -> Tolerance | None:
    """Return how far a candidate may be from its reference, or None if the contrast has no variants."""
    if not contrast.variants:
        return None
    mean, tail, lead = (
        max(reached)
        for reached in zip(*((v.mean_kl, v.tail_kl, v.lead_change) for v in contrast.variants), strict=True)
    )
    limits = MARGIN * mean, MARGIN * tail, _LEAD_MARGIN * lead
    return Tolerance(*(max(contrast.resolution, each) for each in limits))


def outside(contrast: Contrast) -> bool:
    """Return whether the candidate exceeds the tolerance; False if the contrast has no variants."""
    limit, candidate = tolerance(contrast), contrast.candidate
    return limit is not None and (candidate.mean_kl > limit.mean_kl or candidate.tail_kl > limit.tail_kl)
