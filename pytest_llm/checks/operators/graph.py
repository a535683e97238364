"""Nodes of a model's graph, as llama.cpp's ``test-export-graph-ops`` writes and reads them.

A line of its file holds numbers: the operation (``enum ggml_op``), the type (``enum ggml_type``), four
lengths, the operation's parameters, and of each operand the type, four lengths and four strides; a name ends
it. Each kind of node comes once, however often the graph has it. Types keep their numbers for good,
operations do not.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.errors import EngineError
from pytest_llm.models.gguf.ggml_types import TENSOR_TYPES
from pytest_llm.records import OperatorCase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import Weight

Shape = tuple[int, int, int, int]

_MATMULS = {"MUL_MAT", "MUL_MAT_ID"}
# These read few rows of their first operand, or write few of their last one.
_SPARSE = {"GET_ROWS", "SET_ROWS"}
_OF_A_LAYER = re.compile(r"[-_l]\d+$")
_EMBEDDING, _HEAD = "token_embd.weight", "output.weight"


@dataclass(frozen=True)
class Operand:
    """An operand: its ``enum ggml_type``, its lengths, and its strides in bytes."""

    type: int
    shape: Shape
    strides: Shape

    @property
    def bytes(self) -> int:
        """Its size, without gaps."""
        kind = TENSOR_TYPES.get(self.type)
        first, second, third, fourth = self.shape
        elements = first * second * third * fourth
        return elements if kind is None else elements // kind.block * kind.block_bytes

    def __str__(self) -> str:
        kind = TENSOR_TYPES.get(self.type)
        lengths = list(self.shape)
        while len(lengths) > 1 and lengths[-1] == 1:
            lengths.pop()
        name = kind.name.lower() if kind else f"type {self.type}"
        return f"{name} {'×'.join(str(each) for each in lengths)}"


@dataclass(frozen=True)
class Node:
    """One kind of node: its ``enum ggml_op``, the result's type and shape, and the first such node's name."""

    operation: int
    type: int
    shape: Shape
    parameters: tuple[int, ...]
    operands: tuple[Operand, ...]
    name: str

    def line(self, operation: int, name: str) -> str:
        """Return it as a line of the file, with another number and name."""
        numbers = [operation, self.type, *self.shape, len(self.parameters), *self.parameters]
        numbers.append(len(self.operands))
        for operand in self.operands:
            numbers += [operand.type, *operand.shape, *operand.strides]
        return " ".join([*map(str, numbers), name]) + "\n"


def read_nodes(text: str) -> list[Node]:
    """Return the nodes of an exported graph, or raise ``EngineError``."""
    try:
        return [_node(line) for line in text.splitlines() if line.strip()]
    except (ValueError, StopIteration):
        raise EngineError("what test-export-graph-ops wrote cannot be read: it is of another form") from None


def _node(line: str) -> Node:
    words = iter(line.split())

    def number() -> int:
        return int(next(words))

    def shape() -> Shape:
        return number(), number(), number(), number()

    operation, kind, lengths = number(), number(), shape()
    parameters = tuple([number() for _ in range(number())])
    operands = tuple([Operand(number(), shape(), shape()) for _ in range(number())])
    return Node(operation, kind, lengths, parameters, operands, next(words, "-"))


def read_operations(header: str) -> dict[int, str]:
    """Return the operations by number, from the text of ``ggml.h``; nothing if it has no such list."""
    found = re.search(r"enum\s+ggml_op\s*\{(.*?)\}", header, re.DOTALL)
    listed = re.sub(r"//[^\n]*|/\*.*?\*/", "", found[1], flags=re.DOTALL) if found else ""
    names = re.findall(r"\bGGML_OP_(\w+)", listed)
    return dict(enumerate(each for each in names if each != "COUNT"))


def case_of(node: Node, operation: str, weights: Sequence[Weight], layers: int) -> OperatorCase:
    """Return a node in words, and how often a step of the model runs its kind."""
    return OperatorCase(operation, _shape(node, operation), _count(node, operation, weights, layers), "")


def _shape(node: Node, operation: str) -> str:
    if operation in _MATMULS and len(node.operands) > 1:
        return f"{node.operands[0]}, n={node.operands[1].shape[1] * node.operands[1].shape[2]}"
    if operation == "FLASH_ATTN_EXT" and len(node.operands) > 1:
        return f"{node.operands[1]}, n={node.operands[0].shape[1]}"
    return str(node.operands[0]) if node.operands else "without operands"


def _count(node: Node, operation: str, weights: Sequence[Weight], layers: int) -> int:
    each_layer = max(layers, 1) if _OF_A_LAYER.search(node.name) else 1
    if operation in _SPARSE:
        return each_layer if operation == "SET_ROWS" else 1
    tied = all(each.name != _HEAD for each in weights)
    used = Counter((each.type, each.shape) for each in weights if tied or each.name != _EMBEDDING)
    read = node.operands[:1] if operation in _MATMULS else node.operands
    counts = [used[each.type, each.shape] for each in read]
    found = next((count for count in counts if count), 0)
    return found or each_layer


def bytes_moved(node: Node, operation: str) -> int:
    """Return about how much memory an operation goes through."""
    result = Operand(node.type, node.shape, (0, 0, 0, 0)).bytes
    if operation in _SPARSE:
        return 2 * result if operation == "GET_ROWS" else 2 * sum(each.bytes for each in node.operands[:1])
    return result + sum(each.bytes for each in node.operands)


def renumbered(node: Node, ours: Mapping[int, str], theirs: Mapping[int, str]) -> int | None:
    """Return the number that a node's operation has elsewhere; None if it has none."""
    name = ours.get(node.operation)
    return next((number for number, each in theirs.items() if each == name), None)
