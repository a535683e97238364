"""Stored runs of each machine, and invariants that hold on every machine."""

from pytest_llm.baselines.format import full_name, update_lines
from pytest_llm.baselines.inventory import Collected, OpenTest
from pytest_llm.baselines.records import (
    Conditions,
    Missing,
    Mode,
    RecordedInvariants,
    RecordedRuns,
    Refusal,
    Series,
    Updated,
)
from pytest_llm.baselines.store import BaselineStore

__all__ = [
    "BaselineStore",
    "Collected",
    "Conditions",
    "Missing",
    "Mode",
    "OpenTest",
    "RecordedInvariants",
    "RecordedRuns",
    "Refusal",
    "Series",
    "Updated",
    "full_name",
    "update_lines",
]
