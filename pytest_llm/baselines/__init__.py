"""What was true here before: stored runs of this machine, and facts that hold on every machine."""

from pytest_llm.baselines.format import full_name, update_lines
from pytest_llm.baselines.from_results import Taken, take
from pytest_llm.baselines.inventory import Collected, OpenTest
from pytest_llm.baselines.records import (
    Conditions,
    Entry,
    Found,
    FoundFacts,
    InvariantsEntry,
    Missing,
    Mode,
    Recorded,
    RecordedInvariants,
    Refusal,
    Series,
    Updated,
)
from pytest_llm.baselines.store import BaselineStore

__all__ = [
    "BaselineStore",
    "Collected",
    "Conditions",
    "Entry",
    "Found",
    "FoundFacts",
    "InvariantsEntry",
    "Missing",
    "Mode",
    "OpenTest",
    "Recorded",
    "RecordedInvariants",
    "Refusal",
    "Series",
    "Taken",
    "Updated",
    "full_name",
    "take",
    "update_lines",
]
