"""Cases to measure: the nodes of the model's graph, or the nearest that upstream has built in."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.checks.operators import graph, programs
from pytest_llm.errors import EngineError
from pytest_llm.models.gguf.ggml_types import type_name
from pytest_llm.records import OperatorCase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_llm.checks.operators.graph import Node
    from pytest_llm.models import Header
    from pytest_llm.records import LoadOptions, Model, Phase, Workload
    from pytest_llm.records.protocols import Programs

# Upstream's sizes for every type of weights: rows, columns, and tokens together.
_ROWS, _COLUMNS = 4096, 14336
_TOKENS = (1, 2, 3, 4, 5, 8, 512)
_CACHE = 4096
_MOST = 10
_HEADER = "ggml/include/ggml.h"


@dataclass(frozen=True)
class CaseArguments:
    """A case, and the arguments with which each side's benchmark measures only that case."""

    case: OperatorCase
    candidate: tuple[str, ...]
    reference: tuple[str, ...]


def of_the_model(
    sides: tuple[Programs, Programs],
    model: Model,
    header: Header,
    options: LoadOptions,
    workload: Workload,
    folder: Path,
    on_progress: Callable[[str], None],
) -> list[CaseArguments]:
    """Return the nodes of the graph that generates a token, those that move most memory first.

    One program exports the graph for both sides: the candidate's, or the reference's if that fails.
    Operations are renumbered for a side that numbers them differently. ``EngineError`` if neither side can
    export it.
    """
    numbers = [graph.read_operations(_text(side.source / _HEADER)) for side in sides]
    nodes, ours = _exported(sides, model, options, workload, folder, on_progress)
    known, both = numbers[ours], list(enumerate(numbers))
    named = [(node, known.get(node.operation, f"operation {node.operation}")) for node in nodes]
    named.sort(key=lambda each: -_weight(each[0], each[1], header))
    files = [
        (node, name, [_file(node, known, theirs, folder / f"case-{place}-{side}") for side, theirs in both])
        for place, (node, name) in enumerate(named[:_MOST])
    ]
    return [
        CaseArguments(
            graph.case_of(node, name, header.weights, header.layers),
            _file_arguments(first),
            _file_arguments(second),
        )
        for node, name, (first, second) in files
        if first is not None and second is not None
    ]


def _exported(
    sides: tuple[Programs, Programs],
    model: Model,
    options: LoadOptions,
    workload: Workload,
    folder: Path,
    on_progress: Callable[[str], None],
) -> tuple[list[Node], int]:
    """Return the nodes, and which side exported them."""
    problem = EngineError("")
    for side, each in enumerate(sides):
        try:
            program = each.program(programs.EXPORTER, on_progress)
            text = programs.export(program, model, options, workload, folder / f"graph-{side}")
            return graph.read_nodes(text), side
        except EngineError as error:
            problem = error
    raise problem


def _weight(node: Node, name: str, header: Header) -> int:
    return graph.bytes_moved(node, name) * graph.case_of(node, name, header.weights, header.layers).nodes


def _file(node: Node, ours: dict[int, str], theirs: dict[int, str], path: Path) -> Path | None:
    operation = graph.renumbered(node, ours, theirs) if ours and theirs else node.operation
    if operation is None:
        return None
    path.write_text(node.line(operation, node.name), encoding="utf-8")
    return path


def _file_arguments(path: Path) -> tuple[str, ...]:
    return ("--test-file", str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def built_in(header: Header, options: LoadOptions, parallel: int, phase: Phase) -> list[CaseArguments]:
    """Return upstream's built-in cases for the model's types of weights, the most frequent first."""
    tokens = max(each for each in _TOKENS if phase == "prompt" or each <= max(parallel, 1))
    asked = [_matmul(name, tokens) for name in _types(header)]
    if phase == "generation" and options.flash_attn != "off" and header.heads:
        asked.append(_attention(header.embedding_length // header.heads))
    return asked


def _types(header: Header) -> Sequence[str]:
    elements: Counter[str] = Counter()
    tied = all(each.name != "output.weight" for each in header.weights)
    for each in header.weights:
        if each.shape[1] > 1 and (tied or each.name != "token_embd.weight"):
            elements[type_name(each.type).lower()] += each.shape[0] * each.shape[1] * each.shape[2]
    return [name for name, _ in elements.most_common()]


def _matmul(kind: str, tokens: int) -> CaseArguments:
    pattern = f"type_a={kind},type_b=f32,m={_ROWS},n={tokens},k={_COLUMNS},bs=[1,1],nr=[1,1],"
    return _matching(OperatorCase("MUL_MAT", f"{kind} {_COLUMNS}×{_ROWS}, n={tokens}", 0, ""), pattern)


def _attention(width: int) -> CaseArguments:
    pattern = f"hsk={width},hsv={width},nh=8,nr23=[1,1],kv={_CACHE},nb=1,"
    return _matching(OperatorCase("FLASH_ATTN_EXT", f"f16 {width}×{_CACHE}×8, n=1", 0, ""), pattern)


def _matching(case: OperatorCase, pattern: str) -> CaseArguments:
    escaped = re.sub(r"[][.^$*+?(){}|\\]", r"\\\g<0>", pattern)
    words = ("-o", case.operator, "-p", f"^{escaped}")
    return CaseArguments(case, words, words)
