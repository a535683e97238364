"""Frozen records of baselines: stored runs and invariants, their conditions, and the answers of the store."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, TypeAlias

from pytest_llm.records import JSON, Build, OutputSnapshot, Provenance, Run, StoredRun, TestKey
from pytest_llm.records.schema import Constraint, NonEmpty, Sha256, constraint
from pytest_llm.records.serialization import encode

VERSION = 1
Mode = Literal["new", "append", "replace"]

# Runs kept of a metric: enough for the spread, few enough to follow the machine.
MAX_RUNS = 20

# What `llama_print_system_info` puts before the features of each backend: "CPU : SSE3 = 1 | …".
_BACKENDS = re.compile(r"(\w+) : ")
_THREADS = {"n_threads", "n_threads_batch"}
# The unit of a stored log ratio to an anchor.
RATIO = "log ratio"
# The effective option that says how many of the threads can work at once.
THREADS_AT_WORK = "threads_at_work"

Scalars: TypeAlias = Mapping[str, Annotated[JSON, constraint(type=["string", "number", "boolean", "null"])]]
Digest: TypeAlias = Annotated[str, constraint(pattern="^[0-9a-f]{32}$")]


@dataclass(frozen=True)
class Anchor:
    """The build that stored ratios are ratios to, as it describes itself.

    Attributes:
        build: "llama-cpp-python 0.3.30 (llama.cpp 4df29be4f)".
        compiled_with: CPU features and backends.
    """

    build: NonEmpty
    compiled_with: str = ""

    @classmethod
    def of(cls, build: Build) -> Anchor:
        """Return the anchor that a build is."""
        return cls(str(build), build.compiled_with)


@dataclass(frozen=True)
class Conditions:
    """Conditions that make two runs comparable; the build is not one of them, because it is judged.

    Attributes:
        model_sha256: Of the model's file, in hex.
        engine: "llama-cpp-python".
        load_options: As asked for, by llama.cpp's names.
        workload: The fields of :class:`~pytest_llm.records.Workload`.
        environment: What else changes speed: variables by name, and ``threads_at_work``. Runs with another
            environment are compared, and drift.
        anchor: Of ratios; None of values.
    """

    model_sha256: Sha256
    engine: NonEmpty
    load_options: Scalars
    workload: Scalars
    environment: Scalars = field(default_factory=dict)
    anchor: Anchor | None = None

    @classmethod
    def of(cls, run: Run, anchor: Build | None = None) -> Conditions:
        """Return the conditions of a run's values or, with an anchor, of its ratios."""
        return cls(
            model_sha256=run.model.sha256,
            engine=run.build.engine,
            load_options=_by_content(run),
            workload=encode(run.workload),
            environment=environment_of(run),
            anchor=None if anchor is None else Anchor.of(anchor),
        )

    @classmethod
    def portable(cls, run: Run) -> Conditions:
        """Return the conditions under which a run's invariants are the same on every machine.

        Threads and workload are not among them; the backends that run the layers are.
        """
        backends = _BACKENDS.findall(run.build.compiled_with) or ["CPU"]
        options = _by_content(run)
        return cls(
            model_sha256=run.model.sha256,
            engine=f"{run.build.engine} on {'+'.join(sorted(set(backends)))}",
            load_options={name: each for name, each in options.items() if name not in _THREADS},
            workload={},
        )

    def difference(self, now: Conditions) -> str:
        """Return the first part that differs now, as "recorded with n_threads=2, now 4", or "".

        The order is the model, the engine, the load options by name, the workload by name, the anchor. The
        environment is left out.
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
        if self.anchor != now.anchor and self.anchor is not None and now.anchor is not None:
            yield _other_anchor(self.anchor, now.anchor)

    def other_environment(self, now: Conditions) -> str:
        """Return the first part of the environment that differs now, or ""."""
        return next(_differences(self.environment, now.environment), "")


def _other_anchor(was: Anchor, now: Anchor) -> str:
    if was.build != now.build:
        migrate = "change it with pytest-llm baselines migrate"
        return f"recorded with the anchor {was.build}, now {now.build}: {migrate}"
    return f"recorded with an anchor compiled with {was.compiled_with!r}, now with {now.compiled_with!r}"


def environment_of(run: Run) -> dict[str, JSON]:
    """Return what of a run's environment changes speed."""
    at_work = run.effective_options.get(THREADS_AT_WORK)
    return {
        **run.build.environment,
        **({} if at_work is None else {THREADS_AT_WORK: at_work}),
    }


def _by_content(run: Run) -> dict[str, JSON]:
    """Return the load options as asked for, with adapters and draft model by what they hold."""
    found = {**encode(run.subject.load_options), "lora": run.model.lora}
    del found["draft_model"]  # what is stored without one knows no such option
    return found if run.model.draft is None else {**found, "draft_model": run.model.draft.sha256[:12]}


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
    """The stored runs of one metric, oldest first, and the unit of their values: ``RATIO`` for ratios."""

    constraint: ClassVar[Constraint] = constraint(
        **{
            "if": {"properties": {"unit": {"enum": ["s", "tok/s"]}}},
            "then": {"properties": {"runs": {"items": {"properties": {"value": {"exclusiveMinimum": 0}}}}}},
        }
    )

    unit: str
    runs: Annotated[tuple[StoredRun, ...], constraint(minItems=1, maxItems=MAX_RUNS)]


@dataclass(frozen=True)
class RecordedRuns:
    """The runs of one test by metric, all under the same conditions, on one machine or class of machines."""

    conditions: Conditions
    metrics: Annotated[Mapping[str, Series], constraint(minProperties=1)]


@dataclass(frozen=True)
class RecordedInvariants:
    """The invariants of one test by name; the provenance is that of the last update."""

    conditions: Conditions
    invariants: Annotated[
        Mapping[str, JSON],
        constraint(minProperties=1, properties={"output_snapshot": OutputSnapshot}),
    ]
    provenance: Provenance


@dataclass(frozen=True)
class MachineFile:
    """``machines/FINGERPRINT/MODULE.json`` or ``anchored/CLASS/MODULE.json``: runs of one module's tests.

    Attributes:
        schema_version: Of the format.
        digest: Of everything else in the file.
        module: Of the tests.
        machine: What the fingerprint or the class is made of.
        tests: By ``name[parameters]``.
    """

    schema_version: Literal[1]
    digest: Digest
    module: NonEmpty
    machine: Scalars
    tests: Annotated[Mapping[str, RecordedRuns], constraint(propertyNames={"minLength": 1})]


@dataclass(frozen=True)
class PortableFile:
    """``portable/MODULE.json``: the invariants of one module's tests, on every machine."""

    schema_version: Literal[1]
    digest: Digest
    module: NonEmpty
    tests: Annotated[Mapping[str, RecordedInvariants], constraint(propertyNames={"minLength": 1})]


@dataclass(frozen=True)
class Missing:
    """There is nothing to compare with; the reason is one line.

    Attributes:
        reason: One line.
        unrecorded: Whether the test's module has baselines, of other tests or of other metrics.
        hint: What to do about it, as the end of the line; "" if that depends.
    """

    reason: str
    unrecorded: bool = False
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.reason}{self.hint}"


@dataclass(frozen=True)
class Refusal:
    """A run or an invariant that was not stored, with the reason.

    Attributes:
        key: Of the test.
        reason: One line.
        name: Of the metric or invariant; "" if it is the whole test.
        stored: The mode is "new", and the metric has stored runs.
    """

    key: TestKey
    reason: str
    name: str = ""
    stored: bool = False


@dataclass(frozen=True)
class Updated:
    """The result of an update: (key, metric or invariant) of everything written, and the refusals."""

    written: tuple[tuple[TestKey, str], ...] = ()
    refused: tuple[Refusal, ...] = ()
