"""Loads of a model, and their bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.machine.memory.anonymous import file_shares
from pytest_llm.machine.memory.rss import ProcessMemory
from pytest_llm.suite.candidate import Refused, broken, not_covered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.suite.candidate import Accepted, Candidate

MIB = 2**20


class Bytes(NamedTuple):
    """Predicted and logged bytes by place: "host" or "device"."""

    predicted: Mapping[str, int]
    logged: Mapping[str, int]

    def __str__(self) -> str:
        found = [
            f"{place} {self.logged[place] / MIB:.2f} MiB, predicted {self.predicted[place] / MIB:.2f}"
            for place in ("host", "device")
            if self.logged[place] or self.predicted[place]
        ]
        return "; ".join(found) or "nothing"


class Resident(NamedTuple):
    """Resident bytes of a process: ``RssAnon``, ``RssFile``, the model's file and its proportional share."""

    anonymous: float
    file: float
    model: float
    model_share: float


def loaded_with(candidate: Candidate, **options: Any) -> Accepted:
    """Load the model, or end the test: not covered if the build lacks an option, otherwise broken."""
    outcome = candidate.load(**options)
    if isinstance(outcome, Refused):
        if not outcome.log:
            not_covered(outcome.message)
        broken(outcome.message, outcome.log)
    return outcome


def bytes_of(accepted: Accepted, kind: str) -> Bytes:
    """Return the bytes of "weights" or "kv", or end the test as not covered."""
    memory: Any = accepted.effective_options["memory"]
    entry = memory.get(kind)
    if entry is None or entry["logged"] is None:
        not_covered(f"{kind}: llama.cpp wrote no size of it")
    if entry["predicted"] is None:
        not_covered(f"{kind}: {'; '.join(memory['reasons'])}")
    return Bytes(entry["predicted"], entry["logged"])


def near(found: float, expected: float, share: float, slack: float = MIB / 50) -> bool:
    """Return whether a size is within a share of the expected one; logged sizes have steps of 0.01 MiB."""
    return abs(found - expected) <= max(share * expected, slack)


def resident(candidate: Candidate, pid: int) -> Resident:
    """Return a process's resident memory, or end the test as not covered."""
    with ProcessMemory().watch(pid) as seen:
        pass
    try:
        model, share = file_shares(pid, Path(candidate.model.path).resolve())
    except OSError:
        not_covered("which pages are file-backed: this needs /proc of Linux")
    return Resident(seen["peak_ram_anonymous"].values[0], seen["peak_ram_file"].values[0], model, share)
