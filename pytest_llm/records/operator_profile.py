"""Operator profiles: times of operations in two builds, by llama.cpp's own benchmark of operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_llm.records.schema import AboveZero, Count, NonEmpty, NonNegative, Positive

Phase = Literal["prompt", "generation"]


@dataclass(frozen=True)
class Weight:
    """A tensor of a model's file.

    Attributes:
        name: As in the file: "blk.0.ffn_up.weight".
        type: The number of ``enum ggml_type``.
        shape: Its lengths, the row's first; four of them.
    """

    name: str
    type: int
    shape: tuple[int, int, int, int]


@dataclass(frozen=True)
class OperatorCase:
    """An operation on tensors of certain types and shapes.

    Attributes:
        operator: ggml's name: "MUL_MAT".
        shape: Of its operands: "q4_1 576×1536, n=1".
        nodes: How often a step of the model runs it, at least; 0 if the shapes are not the model's.
        parameters: In the benchmark's own words.
    """

    operator: NonEmpty
    shape: NonEmpty
    nodes: Count
    parameters: str

    def __str__(self) -> str:
        return f"{self.operator} {self.shape}"


@dataclass(frozen=True)
class OperatorTimes:
    """Seconds that one run of an operation takes.

    Attributes:
        case: The operation.
        first: Of the candidate and of the reference, once: they choose the cases to compare, and take no part
            in the comparison.
        candidate: One a repetition; empty if the case was not chosen.
        reference: The same; equal places were measured one after the other.
    """

    case: OperatorCase
    first: tuple[AboveZero, AboveZero]
    candidate: tuple[AboveZero, ...] = ()
    reference: tuple[AboveZero, ...] = ()


@dataclass(frozen=True)
class OperatorRun:
    """The times of one kind of work.

    Attributes:
        phase: The kind of work.
        shapes: Of the model's own graph, or built into upstream's benchmark.
        threads: Of an operation.
        asked_threads: Of the subject.
        times: The most expensive case first.
        not_covered: What could not be measured, with the reason.
        notes: More for the reader.
        seconds: That measuring took.
    """

    phase: Phase
    shapes: Literal["model", "built in"] = "model"
    threads: Positive = 1
    asked_threads: Positive = 1
    times: tuple[OperatorTimes, ...] = ()
    not_covered: tuple[NonEmpty, ...] = ()
    notes: tuple[NonEmpty, ...] = ()
    seconds: NonNegative = 0.0
