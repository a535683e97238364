"""Tolerance of an output comparison: a multiple of the reference's distance from its own benign variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llm.records import Contrast

# Each variant rounds one thing differently. Two builds that round independently of each other are twice as
# far apart; the rest is a safety margin. docs/output.md has the measurements.
MARGIN = 4.0


def allowed(contrast: Contrast) -> tuple[float, float]:
    """Return the largest harmless mean and 99th percentile of the KL divergence, in nats.

    Args:
        contrast: With at least one variant.
    """
    reached = [each.divergence for each in contrast.variants]
    return MARGIN * max(each.mean_kl for each in reached), MARGIN * max(each.p99_kl for each in reached)


def outside(contrast: Contrast) -> bool:
    """Return whether the candidate exceeds the tolerance; False if the contrast has no variants."""
    if not contrast.variants:
        return False
    mean, p99 = allowed(contrast)
    return contrast.candidate.mean_kl > mean or contrast.candidate.p99_kl > p99
