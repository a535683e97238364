"""What llama.cpp's own benchmark of operators showed of two builds: which operation takes how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
        shape: What it works on, in words: "q4_1 576×1536, n=1".
        nodes: How often a step of the model runs it, at least; 0 where the shapes are not the model's.
        told: The benchmark's own words for it.
    """

    operator: str
    shape: str
    nodes: int
    told: str

    def __str__(self) -> str:
        return f"{self.operator} {self.shape}"


@dataclass(frozen=True)
class OperatorTimes:
    """Seconds that one run of an operation takes.

    Attributes:
        case: Which one.
        first: Two, of the candidate and of the reference, at the first look: it says which cases are worth a
            comparison, and takes no part in it.
        candidate: One a repetition; empty where the first look was the only one.
        reference: The same; equal places were measured one after the other.
    """

    case: OperatorCase
    first: tuple[float, ...]
    candidate: tuple[float, ...] = ()
    reference: tuple[float, ...] = ()


@dataclass(frozen=True)
class OperatorRun:
    """What was measured of one kind of work.

    Attributes:
        phase: Which kind.
        shapes: Whose: those of the model's own graph, or what upstream's benchmark has built in.
        threads: That an operation ran on.
        asked_threads: That the subject runs on.
        times: The most expensive case first.
        not_covered: What could not be measured, with the reason.
        notes: What else a reader has to know.
        seconds: That measuring took.
    """

    phase: Phase
    shapes: Literal["model", "built in"] = "model"
    threads: int = 1
    asked_threads: int = 1
    times: tuple[OperatorTimes, ...] = ()
    not_covered: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
