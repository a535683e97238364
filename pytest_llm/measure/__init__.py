"""From a plan to runs: the planner and the measuring loop. Knows no pytest and no engine by name."""

from pytest_llm.checks.output.compare import OutputRun, compare_outputs
from pytest_llm.measure.limits import TimeLimits
from pytest_llm.measure.rounds import MeasurementContext
from pytest_llm.measure.sessions import measure

__all__ = [
    "MeasurementContext",
    "OutputRun",
    "TimeLimits",
    "compare_outputs",
    "measure",
]
