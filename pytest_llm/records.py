"""Frozen records: what is to be measured, and what was.

Nothing here computes. Records compare by value, so that equal subjects share a process and equal
workloads share a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Union

from pytest_llm import metrics
from pytest_llm.errors import UnknownNameError

if TYPE_CHECKING:
    from datetime import datetime

    JSON = Union[None, bool, int, float, str, "list[JSON]", "dict[str, JSON]"]  # noqa: UP007
else:
    JSON = Any  # codecs read annotations and cannot follow a type into itself

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
FlashAttention = Literal["auto", "on", "off"]
LoadMode = Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "direct_io"]
SplitMode = Literal["none", "layer", "row"]


@dataclass(frozen=True)
class Model:
    """A GGUF file, identified by its SHA-256; its facts come from the header alone.

    Attributes:
        name: What the user called it: a catalogue name or a path.
        path: The file.
        sha256: Of the whole file, in hex.
        file_bytes: The file's length.
        architecture: ``general.architecture``: "llama".
        quantization: ``general.file_type`` in words: "Q4_1".
        parameters: Elements of all tensors.
        layers: ``block_count``.
        heads: ``attention.head_count`` (the largest, where layers differ).
        kv_heads: ``attention.head_count_kv`` (the largest, where layers differ).
        embedding_length: Width of the hidden state.
        context_length: Tokens that the model was trained for.
        vocabulary_size: Tokens in the vocabulary.
    """

    name: str
    path: str
    sha256: str
    file_bytes: int
    architecture: str
    quantization: str
    parameters: int
    layers: int
    heads: int
    kv_heads: int
    embedding_length: int
    context_length: int
    vocabulary_size: int


@dataclass(frozen=True)
class BuildReference:
    """Which build is meant: ``ENGINE[@WHERE]``, as the user wrote it.

    Attributes:
        engine: "llama-cpp-python".
        kind: What ``where`` is; "installed" is the build of pytest's own environment.
        where: A path, or nothing.
    """

    engine: str
    kind: Literal["installed", "venv"] = "installed"
    where: str = ""

    def __str__(self) -> str:
        return f"{self.engine}@{self.kind}:{self.where}" if self.where else self.engine


@dataclass(frozen=True)
class Build:
    """A build of an engine, as it describes itself once it runs.

    Attributes:
        engine: "llama-cpp-python".
        version: The engine's own version.
        llama_cpp_commit: What ``ggml_commit()`` answers, or "" where it cannot be asked.
        where: The interpreter or program that ran.
        compiled_with: CPU features and backends, from ``llama_print_system_info``.
        environment: The variables that change speed, as the worker saw them.
    """

    engine: str
    version: str
    llama_cpp_commit: str
    where: str
    compiled_with: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        commit = f" (llama.cpp {self.llama_cpp_commit})" if self.llama_cpp_commit else ""
        return f"{self.engine} {self.version}{commit}"


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded: llama.cpp's own names, every one with an explicit value.

    The defaults are llama.cpp's (``llama_model_default_params``, ``llama_context_default_params`` and
    ``common_params`` at 0c1e57098), except ``n_ctx``: there it means "whatever the model was trained for",
    which would make memory a property of the file, and the threads, which the plan sets to the physical
    cores that it may use wherever nothing else was asked for.
    """

    n_ctx: int = 4096
    n_batch: int = 2048
    n_ubatch: int = 512
    n_seq_max: int = 1
    n_threads: int = 1
    n_threads_batch: int = 1
    n_gpu_layers: int = -1
    split_mode: SplitMode = "layer"
    main_gpu: int = 0
    load_mode: LoadMode = "mmap"
    check_tensors: bool = False
    use_extra_bufts: bool = True
    flash_attn: FlashAttention = "auto"
    offload_kqv: bool = True
    op_offload: bool = True
    type_k: CacheType = "f16"
    type_v: CacheType = "f16"
    swa_full: bool = True
    kv_unified: bool = False
    rope_freq_base: float = 0.0
    rope_freq_scale: float = 0.0


@dataclass(frozen=True)
class Subject:
    """What is measured: a model (by name or path), a build, and load options."""

    model: str
    build: BuildReference
    load_options: LoadOptions


@dataclass(frozen=True)
class Workload:
    """What a subject is asked to do.

    Attributes:
        prompt_tokens: Fresh tokens of one request, for each sequence.
        generate_tokens: Tokens generated after them, for each sequence.
        depth: Tokens that are in the context before the prompt, for each sequence.
        parallel: Sequences that are worked on together.
    """

    prompt_tokens: int = 128
    generate_tokens: int = 64
    depth: int = 0
    parallel: int = 1

    def tokens_per_sequence(self) -> int:
        """Return how many tokens of context one sequence needs."""
        return self.depth + self.prompt_tokens + self.generate_tokens


@dataclass(frozen=True)
class Limit:
    """An absolute bound on a metric, inclusive; the metric says on which side."""

    metric: metrics.Metric
    bound: float


@dataclass(frozen=True)
class Gate:
    """A metric that must be no worse than it was.

    Attributes:
        metric: Which metric.
        tolerance: The loss that must be called, as a ratio above 0: 0.05.
    """

    metric: metrics.Metric
    tolerance: float


@dataclass(frozen=True)
class Claim:
    """A subject must be faster than another one of the same build.

    Attributes:
        metric: In which metric.
        by: By how much at least, as a ratio above 0: 0.2 means 1.2 times as fast.
        than: The other subject.
    """

    metric: metrics.Metric
    by: float
    than: Subject


@dataclass(frozen=True)
class TestKey:
    """What identifies a test wherever pytest was started: module, qualified name, parameters."""

    module: str
    name: str
    parameters: str = ""

    __test__ = False


@dataclass(frozen=True)
class Benchmark:
    """One benchmark as collected: what to measure for it, and what it demands."""

    nodeid: str
    key: TestKey
    subject: Subject
    workload: Workload
    limits: tuple[Limit, ...] = ()
    gates: tuple[Gate, ...] = ()
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Question:
    """A gate or a claim on one workload: what a pair of subjects is asked."""

    workload: Workload
    asked: Gate | Claim


@dataclass(frozen=True)
class Campaign:
    """All sessions of one subject, or of a pair.

    Attributes:
        subject: The only one, or the candidate.
        workloads: What it is asked to do.
        sessions: How many; of a pair, how many at most.
        reference: The other one of a pair.
        questions: What decides when a pair's sessions end.
    """

    subject: Subject
    workloads: tuple[Workload, ...]
    sessions: int
    reference: Subject | None = None
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What collection found.

    Attributes:
        benchmarks: Grouped by subject.
        campaigns: What they need.
        family: How many verdicts share the error rate.
    """

    benchmarks: tuple[Benchmark, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    family: int = 1

    def campaign_of(self, subject: Subject, reference: Subject | None = None) -> Campaign:
        """Return the campaign that measures a subject of this plan, alone or against a reference."""
        return next(each for each in self.campaigns if (each.subject, each.reference) == (subject, reference))


@dataclass(frozen=True)
class Series:
    """What was noted in one session, in the order in which it was noted.

    Attributes:
        values: Seconds or bytes.
        tokens: Tokens that each of the values stands for, where it is a time of work.
    """

    values: tuple[float, ...]
    tokens: int = 1


@dataclass(frozen=True)
class Session:
    """What one fresh process showed of one workload: series by name (see ``metrics``)."""

    series: Mapping[str, Series]


@dataclass(frozen=True)
class Measurement:
    """A metric of a run.

    Attributes:
        metric: Which metric.
        value: The run's value, in the metric's unit.
        samples: One a session, in the metric's unit.
    """

    metric: metrics.Metric
    value: float
    samples: tuple[float, ...]


@dataclass(frozen=True)
class Run:
    """What was measured of one subject on one workload; every number traces to ``sessions``.

    A metric can be read as an attribute: ``run.generation_tokens_per_second.value``.

    Attributes:
        subject: What was measured.
        workload: What it was asked to do.
        model: The file.
        build: The build, as it describes itself.
        resolved: The load options as they really were, and what llama.cpp wrote about the rest.
        sessions: What was noted.
        measurements: Metrics by name.
        facts: What the subject showed before any timing, the same on every machine of its kind: sizes, token
            ids, greedy output.
    """

    subject: Subject
    workload: Workload
    model: Model
    build: Build
    resolved: Mapping[str, JSON]
    sessions: tuple[Session, ...]
    measurements: Mapping[str, Measurement]
    facts: Mapping[str, JSON] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Measurement:
        # Only reached for names that are no fields. Copying and pickling ask for dunder names on
        # instances that have no fields yet.
        if name.startswith("_") or name == "measurements":
            raise AttributeError(name)
        if name in self.measurements:
            return self.measurements[name]
        raise AttributeError(str(UnknownNameError("metric of this run", name, self.measurements)))


@dataclass(frozen=True)
class PairedRun:
    """What was measured of two subjects on one workload in the same sessions.

    Series of equal length hold at equal places what was measured one after the other.

    Attributes:
        candidate: The one that is judged.
        reference: The one it is compared with.
        dropped: For each session, how many rounds were dropped for which reason.
        in_turn: The subjects did not fit into memory together; each session had one after the other.
        cut_off: Why sampling ended before every question was answered; "" if it did not.
    """

    candidate: Run
    reference: Run
    dropped: tuple[Mapping[str, int], ...] = ()
    in_turn: bool = False
    cut_off: str = ""


@dataclass(frozen=True)
class Provenance:
    """Where a stored value comes from; every field is "" where an old file did not say.

    Attributes:
        build: The engine and its version: "llama-cpp-python 0.3.36".
        llama_cpp_commit: Of that build, or "" where it could not be asked.
        recorded: When, in ISO 8601 with the offset from UTC, to the second.
        plugin: The version of this package.
    """

    build: str = ""
    llama_cpp_commit: str = ""
    recorded: str = ""
    plugin: str = ""

    @classmethod
    def of(cls, build: Build, recorded: datetime, plugin: str) -> Provenance:
        """Return the provenance of what a build showed at a time that knows its zone."""
        return cls(
            build=f"{build.engine} {build.version}",
            llama_cpp_commit=build.llama_cpp_commit,
            recorded=recorded.isoformat(timespec="seconds"),
            plugin=plugin,
        )


@dataclass(frozen=True)
class StoredRun:
    """A metric's value in one run, in the metric's base unit."""

    value: float
    provenance: Provenance


class Verdict(str, Enum):
    """What is said of a metric, worst first."""

    WRONG_OUTPUT = "wrong output"
    REGRESSED = "regressed"
    OVER_LIMIT = "over limit"
    DRIFT = "drift"
    INCONCLUSIVE = "inconclusive"
    NO_BASELINE = "no baseline"
    NOT_COVERED = "not covered"
    IMPROVED = "improved"
    PASS = "pass"


# Verdicts that fail a test whatever the options say.
ALWAYS_FAILING = frozenset({Verdict.WRONG_OUTPUT, Verdict.REGRESSED, Verdict.OVER_LIMIT})
