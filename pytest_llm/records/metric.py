"""What a metric is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pytest_llm.records.units import Unit


@dataclass(frozen=True)
class Metric:
    """A metric: what is measured, its unit, and its better direction.

    Attributes:
        name: The name in results files and on run records.
        title: The name in a sentence.
        unit: The unit of samples and values.
        better: The better direction.
        series: The series of a session that it is read from.
        definition: What exactly is timed or counted.
        source: Where the definition comes from.
        rate: Tokens divided by seconds, not the seconds themselves.
        percentile: The percentile of the observations, 0 to 100.
        pooled: The value is taken over all observations of a run, not over the sessions' samples.
        slope: The series is memory after equal steps; its observations are the slopes between all pairs of
            its values, for each token.
        once: Only one session may have it: it was read at the end of a campaign or, of a pair, in the first
            pass, while a subject was alone.
        tolerance: The default of the loss that must be called, as a ratio; above 0 unless ``exact``.
        exact: It repeats exactly, so that gates compare it without statistics: any loss above the tolerance
            is called, and it shares no error rate.
    """

    name: str
    title: str
    unit: Unit
    better: Literal["higher", "lower"]
    series: str
    definition: str
    source: str
    rate: bool = False
    percentile: float = 50
    pooled: bool = False
    slope: bool = False
    once: bool = False
    tolerance: float = 0.05
    exact: bool = False

    @property
    def least_observations(self) -> int:
        """How many observations a value takes: of a percentile two beyond it, and 5 in all."""
        return max(5, math.ceil(200 / (100 - self.percentile) - 1e-9)) if self.pooled else 1
