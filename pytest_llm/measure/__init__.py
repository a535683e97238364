"""Sessions: from a plan and engines to runs. Knows no pytest and no engine by name.

Each session is a fresh process a subject: memory layout and placement differ from one process to the next, so
a session is the unit that may be called independent.
"""

from pytest_llm.checks.output.compare import OutputRun, compare_outputs
from pytest_llm.checks.output.snapshot import SnapshotRun, say
from pytest_llm.measure.paired import PairedOutcome, run_paired
from pytest_llm.measure.rounds import MeasurementContext
from pytest_llm.measure.solo import Outcome, run_alone

__all__ = [
    "MeasurementContext",
    "Outcome",
    "OutputRun",
    "PairedOutcome",
    "SnapshotRun",
    "compare_outputs",
    "run_alone",
    "run_paired",
    "say",
]
