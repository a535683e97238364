"""Measured and stored values: series, runs, provenance, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Annotated

from pytest_llm.errors import MetricNotCoveredError, UnknownNameError
from pytest_llm.records import metrics
from pytest_llm.records.metric import Metric
from pytest_llm.records.schema import (
    DERIVED,
    AboveZero,
    Count,
    NonEmpty,
    NonNegative,
    Positive,
    Recorded,
    constraint,
)
from pytest_llm.records.subject import JSON, Build, Model, Subject, Workload


@dataclass(frozen=True)
class Series:
    """The numbers of one kind that a session noted, in order.

    Attributes:
        values: In seconds, bytes or another base unit; empty if they could not be read.
        tokens: Tokens that each value stands for, if it is a time of work; the most of them, if they differ.
        note: How they were read, if there are several ways, or why they could not be; "" otherwise.
        token_counts: Tokens of each value, if they differ.
    """

    values: tuple[NonNegative, ...]
    tokens: Positive = 1
    note: str = ""
    token_counts: tuple[Positive, ...] = ()

    def __post_init__(self) -> None:
        """Refuse counts that are not one for each value."""
        if self.token_counts and len(self.token_counts) != len(self.values):
            raise ValueError(f"{len(self.token_counts)} token_counts for {len(self.values)} values")

    def each_tokens(self) -> tuple[int, ...]:
        """Return the tokens of each value."""
        return self.token_counts or (self.tokens,) * len(self.values)

    @classmethod
    def of_work(cls, seconds: Sequence[float], tokens: Sequence[int]) -> Series:
        """Return the series of times of work, each with its tokens."""
        counts = () if len(set(tokens)) < 2 else tuple(tokens)
        return cls(tuple(seconds), max(tokens, default=1), token_counts=counts)


@dataclass(frozen=True)
class Session:
    """The series of one workload in one session, by name (see ``metrics``)."""

    series: Mapping[str, Series]


@dataclass(frozen=True)
class Measurement:
    """A metric of a run.

    Attributes:
        metric: Which metric.
        value: The run's value, in the metric's unit.
        samples: One a session, in the metric's unit.
    """

    metric: Metric
    value: float
    samples: tuple[float, ...]

    def __repr__(self) -> str:
        """Be short: pytest shows it below a failed assertion."""
        return f"<{self.metric.name}: {self}>"

    def __str__(self) -> str:
        return self.metric.unit.format(self.value)


@dataclass(frozen=True)
class Control:
    """The speed of the machine when a run began, by fixed work that no build of llama.cpp takes part in.

    Attributes:
        bandwidth: Bytes that all threads together read and write in a second.
        arithmetic: Floating-point operations that they do in a second: products of small matrices.
        threads: How many there were.
        method: "numpy 2.4": controls that were measured by another one are not compared.
    """

    bandwidth: AboveZero
    arithmetic: AboveZero
    threads: Positive
    method: NonEmpty

    def comparable(self, other: Control | None) -> bool:
        """Return if another control was measured in the same way."""
        return other is not None and (self.threads, self.method) == (other.threads, other.method)


# Series -> what has to be asked for.
_TAKES = {
    metrics.COUNTED_INSTRUCTIONS: "--llm-instructions, and the engine llama-cpp-python",
    metrics.DRAFT_ACCEPTANCE: "a llama-server that drafts tokens: draft_model in llm_model",
}


@dataclass(frozen=True)
class Run:
    """One subject measured on one workload; every number traces to ``sessions``.

    A metric can be read as an attribute: ``run.generation_tokens_per_second.value``.

    Attributes:
        subject: The subject.
        workload: The workload.
        model: The model file.
        build: The build, as it describes itself.
        effective_options: The load options that llama.cpp used, and what it logged.
        sessions: The series of each session.
        measurements: Metrics by name.
        invariants: Facts recorded before any timing, the same on every machine: sizes, token ids, greedy
            output.
        uncovered: Why the engine cannot measure all of the workload; "" if it can.
        control: The speed of the machine when the run began; None if it was not measured.
        cut_off: Why a subject alone has fewer sessions than planned; "" if it has all, or is one of a pair.
    """

    subject: Subject
    workload: Workload
    model: Model
    build: Build
    effective_options: Mapping[str, JSON]
    sessions: tuple[Session, ...]
    measurements: Mapping[str, Measurement] = field(default_factory=dict, metadata=DERIVED)
    invariants: Mapping[str, JSON] = field(default_factory=dict)
    uncovered: str = ""
    control: Control | None = None
    cut_off: str = ""

    def __repr__(self) -> str:
        """Be short: pytest shows it below a failed assertion."""
        found = ", ".join(f"{each.metric.name} {each}" for each in self.measurements.values())
        return (
            f"<Run of {self.subject.model} on {self.build.release}: {self.workload}; "
            f"{len(self.sessions)} sessions; {found}>"
        )

    def not_covered(self, metric: Metric) -> str:
        """Return why the run does not have a metric."""
        return f"{metric.title} cannot be had{self._why_not(metric)}"

    def _why_not(self, metric: Metric) -> str:
        found = [each.series[metric.series] for each in self.sessions if metric.series in each.series]
        reasons = [each.note for each in found if not each.values and each.note]
        if reasons:
            return f": {reasons[0]}"
        if len(self.ways_read(metric)) > 1:
            return f": it was read in two ways, {self.how_read(metric)}"
        observed = sum(len(each.values) for each in found)
        if 0 < observed < metric.least_observations:
            return f": {self._too_few(metric, observed)}"
        if metric.series == metrics.EMBEDDING and not self.workload.embed:
            return ": it takes llm_workload(embed=True)"
        if metric.series in _TAKES and not found:
            return f": it takes {_TAKES[metric.series]}"
        if self.uncovered:
            return f": {self.uncovered}"
        if metric.series in metrics.OF_REQUESTS and not self.workload.embed:
            return ": beside a reference, whole requests are timed only if a marker asks for them"
        return f" from {self.build} on this system"

    @staticmethod
    def _too_few(metric: Metric, observed: int) -> str:
        what = "tokens" if metric.series == "inter_token" else "requests"
        return (
            f"it takes {metric.least_observations} {what}, and {observed} were timed: name it in a marker, "
            "so that more are timed, or raise --llm-time-limit"
        )

    def how_read(self, metric: Metric) -> str:
        """Return how a metric was read, if there is more than one way; "" otherwise."""
        return " and ".join(self.ways_read(metric))

    def ways_read(self, metric: Metric) -> tuple[str, ...]:
        """Return each way in which a metric was read, if there is more than one."""
        found = [each.series[metric.series] for each in self.sessions if metric.series in each.series]
        return tuple(dict.fromkeys(each.note for each in found if each.values and each.note))

    def __getattr__(self, name: str) -> Measurement:
        # Only reached for names that are no fields. Copying and pickling ask for dunder names on
        # instances that have no fields yet.
        if name.startswith("_") or name == "measurements":
            raise AttributeError(name)
        if name in self.measurements:
            return self.measurements[name]
        if name in metrics.METRICS:
            raise MetricNotCoveredError(self.not_covered(metrics.METRICS[name]))
        raise AttributeError(str(UnknownNameError("metric of this run", name, self.measurements)))


@dataclass(frozen=True)
class Struck:
    """Places of values that something disturbed from outside, for each side of a pair."""

    candidate: tuple[Count, ...]
    reference: tuple[Count, ...]


@dataclass(frozen=True)
class Turns:
    """The turns that both of a pair took at the values of a series in one session.

    A turn is one value of each; of latencies between tokens it is one request.

    Attributes:
        first: For each turn "0" if the candidate was first, "1" if the reference was.
        struck: What disturbed values, by the reason: turns counted from 0.
    """

    first: Annotated[str, constraint(pattern="^[01]*$")]
    struck: Mapping[str, Struck] = field(default_factory=dict)


@dataclass(frozen=True)
class PairedRun:
    """Two subjects measured on one workload in the same sessions.

    Series of equal length hold at equal places what was measured one after the other.

    Attributes:
        candidate: The one that is judged.
        reference: The one it is compared with.
        turns: For each session the turns of each kind: "prompt", "generation", "embedding" and "request".
        not_interleaved: The subjects did not fit into memory together; each session had one after the other.
        cut_off: Why sampling ended before every question was answered; "" if it did not.
        campaign: The place of its campaign in the order in which campaigns were measured.
    """

    candidate: Run
    reference: Run
    turns: tuple[Mapping[str, Turns], ...] = ()
    not_interleaved: bool = False
    cut_off: str = ""
    campaign: Count = 0

    def __repr__(self) -> str:
        return f"<PairedRun of {self.candidate!r} and {self.reference!r}>"


@dataclass(frozen=True)
class Provenance:
    """The origin of a stored value; unknown fields are "".

    Attributes:
        build: The engine and its version: "llama-cpp-python 0.3.36".
        llama_cpp_commit: Of that build, or "" where it could not be asked.
        recorded: When, in ISO 8601 with the offset from UTC, to the second.
        plugin: The version of this package.
    """

    build: str = ""
    llama_cpp_commit: str = ""
    recorded: Recorded = ""
    plugin: str = ""

    @classmethod
    def of(cls, build: Build, recorded: datetime, plugin: str) -> Provenance:
        """Return the provenance of what a build showed at a time that knows its zone."""
        return cls(
            build=build.release,
            llama_cpp_commit=build.llama_cpp_commit,
            recorded=recorded.isoformat(timespec="seconds"),
            plugin=plugin,
        )


@dataclass(frozen=True)
class StoredInvariants:
    """Stored invariants by name, with their provenance.

    Attributes:
        invariants: By name; none if there are only runs.
        provenance: Of the invariants.
        environment: What changed the speed of the stored runs of this machine: variables by name, and
            ``threads_at_work``; None if there are no runs.
    """

    invariants: Mapping[str, JSON]
    provenance: Provenance
    environment: Mapping[str, JSON] | None = None


class Verdict(str, Enum):
    """Verdicts, from worst to best."""

    WRONG_OUTPUT = "wrong output"
    REGRESSED = "regressed"
    OVER_LIMIT = "over limit"
    NOT_JUDGED = "not judged"
    DRIFT = "drift"
    UNRECORDED = "unrecorded"
    INCONCLUSIVE = "inconclusive"
    NO_BASELINE = "no baseline"
    NOT_COVERED = "not covered"
    IMPROVED = "improved"
    PASS = "pass"


# Verdicts that fail a test whatever the options say.
ALWAYS_FAILING = frozenset({Verdict.WRONG_OUTPUT, Verdict.REGRESSED, Verdict.OVER_LIMIT, Verdict.NOT_JUDGED})


@dataclass(frozen=True)
class StoredRun:
    """A metric in one run: its value, or its log ratio to an anchor.

    Attributes:
        value: In the metric's base unit; of a ratio, log(candidate / anchor) of times: positive is worse.
        provenance: Where it comes from.
        note: How it was read, where there is more than one way; "" otherwise.
        control: The speed of the machine in that run; None if it was not measured.
        verdict: That of the run's gate when it was measured; None without a gate.
        whole: Of a ratio of speeds, the log ratio over all slices, where ``value`` is the typical one; None
            otherwise.
        migrated: The variance that a change of the anchor added, in units of that of a run; runs that were
            changed together have it in common.
    """

    value: Annotated[float, constraint(minimum=-1e300, maximum=1e300)]
    provenance: Provenance
    note: str = ""
    control: Control | None = None
    verdict: Verdict | None = None
    whole: Annotated[float, constraint(minimum=-1e300, maximum=1e300)] | None = None
    migrated: NonNegative = 0.0
