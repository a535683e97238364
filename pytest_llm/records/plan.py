"""Records of what is asked: limits, gates, claims, benchmarks, and the plan of campaigns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llm.errors import UsageError
from pytest_llm.records.metric import Metric
from pytest_llm.records.output import OutputGate
from pytest_llm.records.schema import NonEmpty
from pytest_llm.records.subject import Subject, Workload


@dataclass(frozen=True)
class Limit:
    """An absolute bound on a metric, inclusive; the metric says on which side."""

    metric: Metric
    bound: float


@dataclass(frozen=True)
class Gate:
    """A metric that must not be worse than that of the reference or baseline.

    Attributes:
        metric: Which metric.
        tolerance: The loss that must be called, as a ratio above 0: 0.05.
        negligible: The loss that is too small to matter; None for a fifth of the tolerance.
    """

    metric: Metric
    tolerance: float
    negligible: float | None = None


@dataclass(frozen=True)
class Claim:
    """A subject that must be faster than another one of the same build.

    Attributes:
        metric: In which metric.
        by: By how much at least, as a ratio above 0: 0.2 means 1.2 times as fast.
        than: The other subject.
    """

    metric: Metric
    by: float
    than: Subject


@dataclass(frozen=True)
class VariantsAsked:
    """What is told of the variants of a test, each beside the first one; nothing of it fails.

    Attributes:
        gates: The metrics, with the losses that matter.
        output: Whether outputs are compared as well.
    """

    gates: tuple[Gate, ...]
    output: bool = True


@dataclass(frozen=True)
class TestKey:
    """The identity of a test, wherever and however pytest is started.

    Attributes:
        module: The file's path below the home of its baselines, "tests/test_speed.py"; the name of an
            installed module, "package.test_speed".
        name: The names of its classes and of the function: "TestChat::test_speed".
        parameters: The ids of the parameters that the test declares.
    """

    module: NonEmpty
    name: NonEmpty
    parameters: str = ""

    __test__ = False


@dataclass(frozen=True)
class Benchmark:
    """One benchmark as collected: what to measure, and what to check.

    Attributes:
        nodeid: Pytest's, without the parameters that other plugins add.
        key: What identifies it among the tests of its home.
        subject: What to measure.
        workload: What to measure it on.
        limits: In the order of the markers.
        gates: In the order of the marker.
        claims: In the order of the markers.
        output: None if no marker asks.
        variants: None if no marker asks.
        home: Path from rootdir to the folder of its baselines; "" for rootdir itself.
        wants_device: Layers on a device are asked for in so many words, with ``n_gpu_layers=-1``.
        file: The file of the test, as a path from the repository, or from rootdir outside of any.
        line: The line of the test in it, counted from 1; 0 is unknown.
    """

    nodeid: str
    key: TestKey
    subject: Subject
    workload: Workload
    limits: tuple[Limit, ...] = ()
    gates: tuple[Gate, ...] = ()
    claims: tuple[Claim, ...] = ()
    output: OutputGate | None = None
    variants: VariantsAsked | None = None
    home: str = ""
    wants_device: bool = False
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Question:
    """A gate or a claim of a pair on one workload."""

    workload: Workload
    asked: Gate | Claim


@dataclass(frozen=True)
class PlannedTime:
    """How long a campaign is planned to take, in seconds.

    Attributes:
        before: Before the first session: each of a pair alone.
        start: In each session, starting processes and loading models.
        work: In each session, of each workload: rehearsal, warm-up, rounds and requests.
        work_alone: Of each workload, if the session had no other.
        after: After the last session.
    """

    before: float = 0.0
    start: float = 0.0
    work: Mapping[Workload, float] = field(default_factory=dict)
    work_alone: Mapping[Workload, float] = field(default_factory=dict)
    after: float = 0.0

    @property
    def session(self) -> float:
        """Seconds of a session with all workloads."""
        return self.start + sum(self.work.values())

    def until(self, sessions: int) -> float:
        """Return the seconds from the beginning of the campaign to the end of so many sessions."""
        return self.before + sessions * self.session

    def of(self, workload: Workload, sessions: int) -> float:
        """Return the seconds that so many sessions take for one workload: starts, and its own work."""
        return sessions * (self.start + self.work.get(workload, 0.0))


@dataclass(frozen=True)
class Campaign:
    """All sessions of one subject, of a pair, or of variants.

    Attributes:
        subject: The only one, or the candidate; the second one of variants.
        workloads: What it is asked to do.
        sessions: How many; of a pair, how many at most.
        reference: The other one of a pair; the first one of variants.
        questions: What decides when a pair's sessions end, asked of each variant but the first.
        leaks: The workloads on which the subject is watched for leaks, once, after all sessions.
        equal: Whether both of a pair must be the same code with the same options; None if they may be.
        requests: How many whole requests each session takes of each workload, of each side.
        anchored: The reference is the anchor; the number of sessions is fixed.
        planned: How long it takes.
        variants: All of them, the first one first; none of a pair or a subject alone.
        output: Whether the outputs of variants are compared as well.
    """

    subject: Subject
    workloads: tuple[Workload, ...]
    sessions: int
    reference: Subject | None = None
    questions: tuple[Question, ...] = ()
    leaks: tuple[Workload, ...] = ()
    equal: bool | None = None
    requests: Mapping[Workload, int] = field(default_factory=dict)
    anchored: bool = False
    planned: PlannedTime = PlannedTime()
    variants: tuple[Subject, ...] = ()
    output: bool = False

    @property
    def fixed(self) -> bool:
        """Whether the number of sessions is known before the first one."""
        return self.reference is None or self.anchored


@dataclass(frozen=True)
class Captures:
    """Number of captures of a subject's output.

    Attributes:
        subject: Whose output.
        reference: What it is compared with; None for the stored snapshot.
        least: If the output is the same.
        most: If it differs, or is recorded.
        tokens: Of each capture.
    """

    subject: Subject
    reference: Subject | None
    least: int
    most: int
    tokens: int


@dataclass(frozen=True)
class Plan:
    """The result of collection.

    Attributes:
        benchmarks: Grouped by subject.
        campaigns: What they need.
        family: How many verdicts share the error rate.
        captures: Of outputs, before anything is timed.
        variants: The campaigns of variants, by the node ids of their tests.
    """

    benchmarks: tuple[Benchmark, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    family: int = 1
    captures: tuple[Captures, ...] = ()
    variants: Mapping[str, Campaign] = field(default_factory=dict)

    def anchor_of(self, subject: Subject, workload: Workload) -> Subject | None:
        """Return the anchor that a subject is measured beside on a workload; None if there is none."""
        for each in self.campaigns:
            if each.anchored and each.subject == subject and workload in each.workloads:
                return each.reference
        return None

    def campaign_of(self, subject: Subject, reference: Subject | None = None) -> Campaign:
        """Return the campaign that measures a subject of this plan, alone or against a reference.

        Raises:
            UsageError: The plan has no such campaign.
        """
        for each in self.campaigns:
            if not each.variants and (each.subject, each.reference) == (subject, reference):
                return each
        raise UsageError(
            f"{subject.model}: no test of this subject was in the plan, because it was marked skip when the "
            "plan was made; remove the marker skip, or let nothing run skipped tests"
        )
