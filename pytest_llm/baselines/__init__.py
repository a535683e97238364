"""What was true here before: stored runs of this machine, and facts that hold on every machine."""

from pytest_llm.baselines.collected import Collected, OpenTest
from pytest_llm.baselines.kept import (
    Conditions,
    Entry,
    FactsEntry,
    Found,
    FoundFacts,
    Missing,
    Mode,
    Recorded,
    RecordedFacts,
    Refusal,
    Series,
    Updated,
)
from pytest_llm.baselines.store import BaselineStore
from pytest_llm.baselines.taking import Taken, take
from pytest_llm.baselines.words import full_name, update_lines

__all__ = [
    "BaselineStore",
    "Collected",
    "Conditions",
    "Entry",
    "FactsEntry",
    "Found",
    "FoundFacts",
    "Missing",
    "Mode",
    "OpenTest",
    "Recorded",
    "RecordedFacts",
    "Refusal",
    "Series",
    "Taken",
    "Updated",
    "full_name",
    "take",
    "update_lines",
]
