"""Frozen records: what is to be measured, and what was.

Nothing here computes. Records compare by value, so that equal subjects share a process and equal
workloads share a measurement.
"""

from pytest_llm.records.operator_profile import OperatorCase, OperatorRun, OperatorTimes, Phase, Weight
from pytest_llm.records.output import (
    MAX_FILLED_TOKENS,
    Contrast,
    Divergence,
    OutputComparison,
    OutputGate,
    Passage,
    Variant,
)
from pytest_llm.records.output_snapshot import (
    OUTPUT_SNAPSHOT,
    LogprobSample,
    OutputSnapshot,
    Rounding,
    StoredSnapshot,
)
from pytest_llm.records.plan import Benchmark, Campaign, Captures, Claim, Gate, Limit, Plan, Question, TestKey
from pytest_llm.records.run import (
    ALWAYS_FAILING,
    Measurement,
    PairedRun,
    Provenance,
    Run,
    Series,
    Session,
    StoredInvariants,
    StoredRun,
    Verdict,
)
from pytest_llm.records.subject import (
    JSON,
    Build,
    BuildReference,
    CacheType,
    FlashAttention,
    LoadMode,
    LoadOptions,
    Model,
    SplitMode,
    Subject,
    Workload,
)

__all__ = [
    "ALWAYS_FAILING",
    "JSON",
    "MAX_FILLED_TOKENS",
    "OUTPUT_SNAPSHOT",
    "Benchmark",
    "Build",
    "BuildReference",
    "CacheType",
    "Campaign",
    "Captures",
    "Claim",
    "Contrast",
    "Divergence",
    "FlashAttention",
    "Gate",
    "Limit",
    "LoadMode",
    "LoadOptions",
    "LogprobSample",
    "Measurement",
    "Model",
    "OperatorCase",
    "OperatorRun",
    "OperatorTimes",
    "OutputComparison",
    "OutputGate",
    "OutputSnapshot",
    "PairedRun",
    "Passage",
    "Phase",
    "Plan",
    "Provenance",
    "Question",
    "Rounding",
    "Run",
    "Series",
    "Session",
    "SplitMode",
    "StoredInvariants",
    "StoredRun",
    "StoredSnapshot",
    "Subject",
    "TestKey",
    "Variant",
    "Verdict",
    "Weight",
    "Workload",
]
