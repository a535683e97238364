"""What is kept of a run, what it is asked for by, and what is answered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pytest_llm.records.serialization import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_llm.records import JSON, Provenance, Run, StoredRun, TestKey

Mode = Literal["new", "append", "replace"]

# What `llama_print_system_info` puts before the features of each backend: "CPU : SSE3 = 1 | …".
_BACKENDS = re.compile(r"(\w+) : ")
_THREADS = {"n_threads", "n_threads_batch"}


@dataclass(frozen=True)
class Conditions:
    """What must be the same for two runs to be comparable; never the build, which is what is judged.

    Attributes:
        model_sha256: Of the model's file, in hex.
        engine: "llama-cpp-python".
        load_options: As asked for, by llama.cpp's names.
        workload: The fields of :class:`~pytest_llm.records.Workload`.
    """

    model_sha256: str
    engine: str
    load_options: Mapping[str, JSON]
    workload: Mapping[str, JSON]

    @classmethod
    def of(cls, run: Run) -> Conditions:
        """Return the conditions under which a run was made."""
        return cls(
            model_sha256=run.model.sha256,
            engine=run.build.engine,
            load_options=encode(run.subject.load_options),
            workload=encode(run.workload),
        )

    @classmethod
    def of_facts(cls, run: Run) -> Conditions:
        """Return the conditions under which a run's facts are the same on every machine.

        Threads and workload have no part in them; where the layers run has.
        """
        backends = _BACKENDS.findall(run.build.compiled_with) or ["CPU"]
        options = encode(run.subject.load_options)
        return cls(
            model_sha256=run.model.sha256,
            engine=f"{run.build.engine} on {'+'.join(sorted(set(backends)))}",
            load_options={name: each for name, each in options.items() if name not in _THREADS},
            workload={},
        )

    def difference(self, now: Conditions) -> str:
        """Return the first part that is another now, as "recorded with n_threads=2, now 4", or "".

        The order is the model, the engine, the load options by name, the workload by name.
        """
        return next(self._differences(now), "")

    def _differences(self, now: Conditions) -> Iterator[str]:
        if self.model_sha256 != now.model_sha256:
            was, is_ = self.model_sha256[:12], now.model_sha256[:12]
            yield f"recorded with the model of SHA-256 {was}…, now {is_}…"
        if self.engine != now.engine:
            yield f"recorded with the engine {self.engine}, now {now.engine}"
        yield from _differences(self.load_options, now.load_options)
        yield from _differences(self.workload, now.workload)


def _differences(recorded: Mapping[str, JSON], now: Mapping[str, JSON]) -> Iterator[str]:
    for name in sorted({*recorded, *now}):
        if name not in recorded:
            yield f"recorded without {name}, now {name}={now[name]}"
        elif name not in now:
            yield f"recorded with {name}={recorded[name]}, now without"
        elif recorded[name] != now[name]:
            yield f"recorded with {name}={recorded[name]}, now {now[name]}"


@dataclass(frozen=True)
class Series:
    """The stored runs of one metric, oldest first, at least one, and the unit of their values."""

    unit: str
    runs: tuple[StoredRun, ...]


@dataclass(frozen=True)
class Recorded:
    """What a machine's file holds of one test: runs by metric, all under the same conditions."""

    conditions: Conditions
    metrics: Mapping[str, Series]


@dataclass(frozen=True)
class RecordedInvariants:
    """What the portable file holds of one test; the provenance is that of the last one who added to it."""

    conditions: Conditions
    invariants: Mapping[str, JSON]
    provenance: Provenance


@dataclass(frozen=True)
class Entry:
    """One new run of a test, to be stored.

    Attributes:
        key: Of the test.
        conditions: Under which it was made.
        provenance: Where it comes from.
        values: One for each metric, by name.
        notes: How metrics were read, by name, where there is more than one way.
    """

    key: TestKey
    conditions: Conditions
    provenance: Provenance
    values: Mapping[str, float]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class InvariantsEntry:
    """New facts of a test, to be stored: JSON values by name."""

    key: TestKey
    conditions: Conditions
    provenance: Provenance
    invariants: Mapping[str, JSON]


@dataclass(frozen=True)
class Found:
    """The stored runs of a metric, oldest first, and the conditions that they share."""

    runs: tuple[StoredRun, ...]
    conditions: Conditions


@dataclass(frozen=True)
class FoundFacts:
    """The stored facts of a test."""

    invariants: Mapping[str, JSON]
    provenance: Provenance
    conditions: Conditions


@dataclass(frozen=True)
class Missing:
    """There is nothing to compare with; the reason is one line."""

    reason: str


@dataclass(frozen=True)
class Refusal:
    """What was not stored, and why: the whole entry, or the one metric or fact that is named."""

    key: TestKey
    reason: str
    name: str = ""


@dataclass(frozen=True)
class Updated:
    """What an update did: (key, metric or fact) of everything written, and what was refused."""

    written: tuple[tuple[TestKey, str], ...] = ()
    refused: tuple[Refusal, ...] = ()
