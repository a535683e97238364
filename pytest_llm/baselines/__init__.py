"""What was true here before: stored runs of this machine, and facts that hold on every machine."""

from pytest_llm.baselines.kept import (
    Conditions,
    Entry,
    FactsEntry,
    Found,
    FoundFacts,
    Missing,
    Recorded,
    RecordedFacts,
    Refusal,
    Updated,
)
from pytest_llm.baselines.store import BaselineStore

__all__ = [
    "BaselineStore",
    "Conditions",
    "Entry",
    "FactsEntry",
    "Found",
    "FoundFacts",
    "Missing",
    "Recorded",
    "RecordedFacts",
    "Refusal",
    "Updated",
]
