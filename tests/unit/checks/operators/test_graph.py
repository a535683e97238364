"""What an exported graph says: nodes, how often a token needs them, and how others number them."""

from __future__ import annotations

import pytest

from pytest_llm.checks.operators.graph import case_of, read_nodes, read_operations
from pytest_llm.errors import EngineError
from pytest_llm.records import Weight
from tests.integration.operators.conftest import OPERATIONS, RECORDED

GRAPH = (RECORDED / "graph.txt").read_text(encoding="utf-8")
MATRIX, VECTOR, EMBEDDING = (576, 1536, 1, 1), (576, 1, 1, 1), (576, 49152, 1, 1)
LAYERS = (
    Weight(f"blk.{layer}.{name}.weight", kind, shape)
    for layer in range(30)
    for name, kind, shape in (("ffn_gate", 3, MATRIX), ("ffn_up", 3, MATRIX), ("attn_norm", 0, VECTOR))
)
WEIGHTS = (*LAYERS, Weight("token_embd.weight", 8, EMBEDDING))


def count(name: str, operation: str, weights: tuple[Weight, ...] = WEIGHTS) -> int:
    numbers = read_operations(OPERATIONS)
    (node,) = (
        each for each in read_nodes(GRAPH) if each.name == name and numbers[each.operation] == operation
    )
    return case_of(node, operation, weights, 30).nodes


def test_every_node_is_written_as_it_was_read() -> None:
    # But for what follows the name's first word, which nobody reads.
    written = [node.line(node.operation, node.name) for node in read_nodes(GRAPH)]

    assert written == [line.removesuffix(" (view)") + "\n" for line in GRAPH.splitlines()]


@pytest.mark.parametrize("text", ["1 2 3", "a line of words", GRAPH[:-60]])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="cannot be read: it is of another form"):
        read_nodes(text)


def test_operations_are_counted_as_the_header_does() -> None:
    numbers = read_operations(OPERATIONS)

    assert numbers[0] == "NONE"
    assert [numbers[each] for each in (2, 29, 40, 74)] == ["ADD", "MUL_MAT", "GET_ROWS", "FLASH_ATTN_EXT"]
    assert "COUNT" not in numbers.values()


def test_a_header_without_the_list_has_no_operations() -> None:
    assert read_operations("enum ggml_type { GGML_TYPE_F32 = 0, };") == {}


def test_a_comment_is_no_operation() -> None:
    assert read_operations("enum ggml_op { GGML_OP_NONE, // GGML_OP_OLD\n GGML_OP_DUP, }") == {
        0: "NONE",
        1: "DUP",
    }


@pytest.mark.parametrize(
    ("name", "operation", "nodes"),
    [
        ("ffn_gate-0", "MUL_MAT", 60),
        ("attn_norm-0", "MUL", 30),
        ("node_21", "FLASH_ATTN_EXT", 30),
        ("cache_k_l0", "SET_ROWS", 30),
        ("embd", "GET_ROWS", 1),
        ("result_output", "MUL_MAT", 1),
    ],
)
def test_a_token_needs_a_node_as_often_as_its_weights_or_its_layers(
    name: str, operation: str, nodes: int
) -> None:
    assert count(name, operation) == nodes


def test_an_embedding_beside_a_head_of_the_same_shape_is_not_multiplied() -> None:
    untied = (*WEIGHTS, Weight("output.weight", 8, EMBEDDING))

    assert count("result_output", "MUL_MAT", untied) == 1
