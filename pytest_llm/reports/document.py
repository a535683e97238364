"""What a results file holds, as frozen records: its JSON Schema is generated from them.

A run is written once under ``runs``, with the series of all its sessions; tests name it. A metric
names the series that it is read from, so that every number can be traced to what was noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

from pytest_llm.checks.findings import Difference, OutputJudgement
from pytest_llm.records import (
    JSON,
    Build,
    LoadOptions,
    Model,
    OperatorRun,
    Run,
    StoredInvariants,
    StoredRun,
    TestKey,
    Verdict,
    Workload,
)
from pytest_llm.records.schema import (
    AboveZero,
    Count,
    Interval,
    NonEmpty,
    NonNegative,
    Positive,
    Probability,
    Share,
    constraint,
)
from pytest_llm.stats.sequential import Rule

VERSION: Final = 1


@dataclass(frozen=True)
class Machine:
    """Where everything was measured.

    Attributes:
        fingerprint: The machine's short name.
        cpu: The processor's name.
        cores: Physical ones.
        memory_gib: Rounded.
        system: "Linux x86_64".
        qualified: Since when the machine is qualified; None if it is not.
        revision: The processor's vendor, family, model and stepping; "" if unknown, like the next three.
        caches: The processor's caches and their sizes.
        instruction_sets: Those of the processor that speed up llama.cpp.
        devices: The names of the GPUs.
    """

    fingerprint: NonEmpty
    cpu: str
    cores: Count
    memory_gib: Count
    system: str
    qualified: str | None
    revision: str = ""
    caches: str = ""
    instruction_sets: str = ""
    devices: str = ""

    def parts(self) -> dict[str, JSON]:
        """Return what the fingerprint is made of."""
        return {name: part for name, part in vars(self).items() if name not in ("fingerprint", "qualified")}


@dataclass(frozen=True)
class LimitEntry:
    """A limit and its verdict; ``interval`` is that of a slope, and None of any other metric."""

    bound: float
    verdict: Verdict
    interval: Interval | None


@dataclass(frozen=True)
class BaselineEntry:
    """A gate that stored runs decide.

    Attributes:
        verdict: The answer.
        tolerance: The loss that must be called.
        runs: The stored runs that the metric was compared with, oldest first.
        value: Their geometric mean; None without any.
        change: Of the metric, now by then, less 1; None without stored runs.
        interval: Of the change; None with too few stored runs.
        reason: Why there is no certain answer; "" if there is one.
        left_out: Which stored runs the metric was not compared with, and why; "" if it was with all.
    """

    verdict: Verdict
    tolerance: Share
    runs: tuple[StoredRun, ...]
    value: float | None
    change: float | None
    interval: Interval | None
    reason: str
    left_out: str


@dataclass(frozen=True)
class PairedEntry:
    """What a pair shows of a metric; the fields are those of :class:`~pytest_llm.checks.findings.Comparison`.

    Attributes:
        verdict: The answer.
        pair: The pair's name in ``pairs``.
        reference_value: The metric of the reference, in the metric's unit.
        reference_samples: One a session.
        log_ratios: One a session; positive is worse.
        rounds: How many rounds of the candidate count in each session.
        sessions: How many sessions the verdict rests on.
        change: Of the metric, candidate by reference, less 1.
        interval: Of the change.
        p_regressed: Error probability of "regressed".
        p_improved: Error probability of "improved".
        p_ok: Error probability of "pass".
        mde: The loss that would have been called with a power of 95 %.
        reason: Why there is no certain answer; "" if there is one.
    """

    verdict: Verdict
    pair: NonEmpty
    reference_value: float
    reference_samples: tuple[float, ...]
    log_ratios: tuple[float, ...]
    rounds: tuple[Count, ...]
    sessions: Count
    change: float | None
    interval: Interval | None
    p_regressed: Probability | None
    p_improved: Probability | None
    p_ok: Probability | None
    mde: float | None
    reason: str


@dataclass(frozen=True)
class ComparisonEntry(PairedEntry):
    """A gate that a reference decides."""

    tolerance: Share


@dataclass(frozen=True)
class DriftEntry:
    """How a candidate differs from its reference (``pair``), or from what is stored of its test.

    Attributes:
        verdict: None if nothing was compared.
        differences: Invariants and effective options that differ.
        reason: Why nothing was compared; "" if it was.
        pair: The pair's name in ``pairs``; None if there is none.
        stored: What is stored; None if nothing is, or a reference decides.
    """

    verdict: Annotated[Verdict, constraint(enum=["drift", "pass"])] | None
    differences: tuple[Difference, ...]
    reason: str
    pair: NonEmpty | None
    stored: StoredInvariants | None


@dataclass(frozen=True)
class ClaimEntry(PairedEntry):
    """A claim to be faster than other load options by at least ``by``, and how the two differ besides."""

    by: AboveZero
    drift: DriftEntry


@dataclass(frozen=True)
class MetricEntry:
    """A metric of a test and every verdict on it.

    Attributes:
        value: In the unit.
        unit: The metric's base unit.
        better: Which way is better.
        series: The series of a session that the metric is read from.
        percentile: Which percentile of the observations.
        pooled: The value is taken over all observations of a run.
        samples: One a session, in the unit.
        limit: None if no marker sets one.
        baseline: None if stored runs do not decide.
        comparison: None if no reference decides.
        claim: None if no marker makes one.
    """

    value: float
    unit: str
    better: Literal["higher", "lower"]
    series: NonEmpty
    percentile: Annotated[float, constraint(exclusiveMinimum=0, exclusiveMaximum=100)]
    pooled: bool
    samples: Annotated[tuple[float, ...], constraint(minItems=1)]
    limit: LimitEntry | None = None
    baseline: BaselineEntry | None = None
    comparison: ComparisonEntry | None = None
    claim: ClaimEntry | None = None


@dataclass(frozen=True)
class OperatorEntry:
    """How long an operator takes in the candidate, by the reference.

    Attributes:
        operator: ggml's name and the shape.
        change: Of time, less 1: positive is slower.
        interval: Of the change; None with too few repetitions.
        share: Of the operators' time; None if the shapes are not the model's.
        differs: The interval leaves 0 out.
    """

    operator: NonEmpty
    change: float
    interval: Interval | None
    share: Probability | None
    differs: bool


@dataclass(frozen=True)
class OperatorsEntry(OperatorRun):
    """What was measured of operators, and what follows from it."""

    found: tuple[OperatorEntry, ...] = ()


@dataclass(frozen=True)
class Bytes:
    """In the host's memory, and on all devices together."""

    host: Count
    device: Count


@dataclass(frozen=True)
class Footprint:
    """Bytes that were predicted, and those that llama.cpp logged; None if there are none."""

    predicted: Bytes | None
    logged: Bytes | None


# As the engine tells it; further keys are allowed.
Memory: TypeAlias = Annotated[
    Mapping[str, JSON],
    constraint(
        properties={
            **dict.fromkeys(("weights", "kv", "recurrent"), Footprint),
            "reasons": {"type": "array", "items": {"type": "string", "minLength": 1}},
        }
    ),
]


@dataclass(frozen=True)
class TestEntry:
    """A benchmark: what was asked, what was measured, and every verdict.

    Attributes:
        nodeid: Pytest's.
        key: What identifies it among the tests of its home, however pytest is started.
        outcome: The test's own; "" if it did not end.
        model: None if nothing was measured.
        load_options: As asked for.
        effective_options: As the engine has them; None if nothing was measured.
        workload: What the subject was asked to do.
        run: The run's name in ``runs``; None if nothing was measured.
        metrics: By name.
        drift: None if no gate asked.
        output: None if no marker asked.
        operators: What ``--llm-operators`` measured.
        memory: None if nothing was measured.
        notes: One line each.
        home: Path from rootdir to the folder of its baselines; "" for rootdir itself.
    """

    nodeid: NonEmpty
    key: TestKey
    outcome: Literal["passed", "failed", "error", "skipped", ""]
    model: Model | None
    load_options: LoadOptions
    effective_options: Mapping[str, JSON] | None
    workload: Workload
    run: NonEmpty | None
    metrics: Mapping[str, MetricEntry]
    drift: DriftEntry | None
    output: OutputJudgement | None
    operators: tuple[OperatorsEntry, ...]
    memory: Memory | None
    notes: tuple[NonEmpty, ...]
    home: str = ""

    __test__ = False


@dataclass(frozen=True)
class PairEntry:
    """Two runs of the same sessions: see :class:`~pytest_llm.records.PairedRun`."""

    candidate: NonEmpty
    reference: NonEmpty
    dropped: tuple[Mapping[str, Positive], ...]
    disturbed: tuple[Mapping[str, Positive], ...]
    not_interleaved: bool
    cut_off: str


@dataclass(frozen=True)
class NotCovered:
    """A metric that could not be measured, or positions of the output that were not captured."""

    nodeid: NonEmpty
    metric: NonEmpty
    reason: NonEmpty


@dataclass(frozen=True)
class Results:
    """A results file.

    Attributes:
        schema_version: Of the format.
        plugin_version: Of the package that wrote it.
        started: When, with the offset from UTC.
        duration_s: In seconds.
        machine: Where.
        candidate: The build that is judged; None if nothing was measured.
        reference: The build that it was compared with; None if there is none.
        rule: Error rates, and how many gates share them.
        tests: In the order in which they ran.
        runs: By the names that tests and pairs use.
        pairs: By the names that comparisons use.
        not_covered: What could not be measured.
    """

    schema_version: Literal[1]
    plugin_version: NonEmpty
    started: Annotated[str, constraint(format="date-time")]
    duration_s: NonNegative
    machine: Machine
    candidate: Build | None
    reference: Build | None
    rule: Rule | None
    tests: tuple[TestEntry, ...]
    runs: Mapping[str, Run]
    pairs: Mapping[str, PairEntry]
    not_covered: tuple[NotCovered, ...]
