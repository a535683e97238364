"""How far a build may be from its reference: about as far as the reference is from itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llm.records import Contrast

# How many times as far as the reference's furthest benign variant. Each variant rounds one thing otherwise.
# Two builds that round independently of each other are twice as far apart, and the rest is for luck; for
# measurements see docs/output.md.
MARGIN = 4.0


def allowed(contrast: Contrast) -> tuple[float, float]:
    """Return how large the mean and the 99th percentile of the KL divergence may be, in nats.

    Args:
        contrast: With at least one variant.
    """
    reached = [each.divergence for each in contrast.variants]
    return MARGIN * max(each.mean_kl for each in reached), MARGIN * max(each.p99_kl for each in reached)


def outside(contrast: Contrast) -> bool:
    """Whether a candidate is further from its reference than it may be; without variants nothing is."""
    if not contrast.variants:
        return False
    mean, p99 = allowed(contrast)
    return contrast.candidate.mean_kl > mean or contrast.candidate.p99_kl > p99
