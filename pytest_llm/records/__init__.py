"""Frozen records: what is to be measured, and what was.

Nothing here computes. Records compare by value, so that equal subjects share a process and equal
workloads share a measurement.
"""

from pytest_llm.records.operators import OperatorCase, OperatorRun, OperatorTimes, Phase, Weight
from pytest_llm.records.outputs import Contrast, Divergence, OutputGate, OutputPair, Passage, Variant
from pytest_llm.records.plans import Benchmark, Campaign, Claim, Gate, Limit, Plan, Question, TestKey
from pytest_llm.records.runs import (
    ALWAYS_FAILING,
    Measurement,
    PairedRun,
    Provenance,
    Run,
    Series,
    Session,
    StoredFacts,
    StoredRun,
    Verdict,
)
from pytest_llm.records.subjects import (
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
    "Benchmark",
    "Build",
    "BuildReference",
    "CacheType",
    "Campaign",
    "Claim",
    "Contrast",
    "Divergence",
    "FlashAttention",
    "Gate",
    "Limit",
    "LoadMode",
    "LoadOptions",
    "Measurement",
    "Model",
    "OperatorCase",
    "OperatorRun",
    "OperatorTimes",
    "OutputGate",
    "OutputPair",
    "PairedRun",
    "Passage",
    "Phase",
    "Plan",
    "Provenance",
    "Question",
    "Run",
    "Series",
    "Session",
    "SplitMode",
    "StoredFacts",
    "StoredRun",
    "Subject",
    "TestKey",
    "Variant",
    "Verdict",
    "Weight",
    "Workload",
]
