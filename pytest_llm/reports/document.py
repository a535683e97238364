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
    TestKey,
    Turns,
    VariantOutput,
    Verdict,
    Workload,
)
from pytest_llm.records.schema import (
    AboveZero,
    Count,
    Interval,
    NonEmpty,
    NonNegative,
    Probability,
    Share,
    constraint,
)
from pytest_llm.reports.verdict_entries import DriftEntry, MetricEntry
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
class VariantEntry:
    """One of several variants; the fields are those of :class:`~pytest_llm.checks.findings.VariantFinding`.

    Attributes:
        label: What tells it from the others.
        against: The label of the first one; "" of the first one itself.
        output: How far it is from the first one's.
        note: Why something could not be compared.
    """

    label: str
    against: str
    output: VariantOutput | None
    note: str


@dataclass(frozen=True)
class TestEntry:
    """A benchmark: what was asked, what was measured, and every verdict.

    Attributes:
        nodeid: Pytest's.
        key: What identifies it among the tests of its home, however pytest is started.
        outcome: The test's own; "" if it did not end.
        failed_by_verdict: A verdict failed the test, and nothing else did.
        message: Why its verdicts fail it, a line each; () if none does.
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
        unmet: Load options that were not in effect: ``before`` is what was asked for.
        file: The file of the test, as a path from its repository, or from rootdir outside of any.
        line: The line of the test in it, counted from 1; 0 is unknown.
        variant: None if no marker asks for variants.
        inside: The name in ``pairs`` of a server with the flags inside of a tool, and the reference; None
            where there is no such tool.
    """

    nodeid: NonEmpty
    key: TestKey
    outcome: Literal["passed", "failed", "error", "skipped", ""]
    failed_by_verdict: bool
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
    unmet: tuple[Difference, ...] = ()
    message: tuple[NonEmpty, ...] = ()
    file: str = ""
    line: Count = 0
    variant: VariantEntry | None = None
    inside: NonEmpty | None = None

    __test__ = False


@dataclass(frozen=True)
class PairEntry:
    """Two runs of the same sessions: see :class:`~pytest_llm.records.PairedRun`."""

    candidate: NonEmpty
    reference: NonEmpty
    turns: tuple[Mapping[str, Turns], ...]
    not_interleaved: bool
    cut_off: str
    campaign: Count


@dataclass(frozen=True)
class QuestionEntry:
    """A gate or a claim that a pair answers, decided together with all others.

    Attributes:
        pair: The pair's name in ``pairs``.
        metric: Its name.
        tolerance: The loss that must be called; None of a claim.
        negligible: The loss that is too small to matter, if a marker names it.
        by: The gain that is claimed; None of a gate.
    """

    pair: NonEmpty
    metric: NonEmpty
    tolerance: Share | None
    negligible: Share | None
    by: AboveZero | None


@dataclass(frozen=True)
class NotCovered:
    """A metric that could not be measured, or what of the output was not captured or cannot be checked."""

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
        finished: False while tests run, so also if pytest was killed.
        machine: Where.
        candidate: The build that is judged; None if nothing was measured.
        reference: The build that it was compared with; None if there is none.
        rule: Error rates, and how many gates share them.
        tests: In the order in which they ran.
        runs: By the names that tests and pairs use.
        pairs: By the names that comparisons use.
        not_covered: What could not be measured.
        questions: What pairs were measured for, in the order of the plan.
        failing: The verdicts that fail a test.
        sandbox: How workers were locked in: "on", with what was missing, "strict", "off"; "" is unknown.
    """

    schema_version: Literal[1]
    plugin_version: NonEmpty
    started: Annotated[str, constraint(format="date-time")]
    duration_s: NonNegative
    finished: bool
    machine: Machine
    candidate: Build | None
    reference: Build | None
    rule: Rule | None
    tests: tuple[TestEntry, ...]
    runs: Mapping[str, Run]
    pairs: Mapping[str, PairEntry]
    not_covered: tuple[NotCovered, ...]
    sandbox: str = ""
    questions: tuple[QuestionEntry, ...] = ()
    failing: tuple[Verdict, ...] = ()
