"""The session of the plugin strings parts together, and does nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pytest_llm.plugin import session

SOURCE = Path(session.__file__).read_text(encoding="utf-8")
# Modules of arithmetic, judging and file formats.
_OF_OTHERS = {"json", "math", "statistics", "datetime", "os", "jsonschema", "numpy"}
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)


def _faults(source: str) -> list[str]:
    tree = ast.walk(ast.parse(source))
    found = []
    for node in tree:
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name in _OF_OTHERS]
        elif isinstance(node, ast.ImportFrom) and node.module in _OF_OTHERS:
            found.append(node.module)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, _ARITHMETIC) and not _is_path(node):
            found.append(f"line {node.lineno}: arithmetic")
    return found + ["200 lines or more"] * (source.count("\n") >= 200)


def _is_path(node: ast.BinOp) -> bool:
    return isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)


def test_the_session_is_thin() -> None:
    assert _faults(SOURCE) == []


@pytest.mark.parametrize("line", ["import json", "from math import inf", "share = 1 / 2", "\n" * 200])
def test_a_session_that_is_not_thin_is_noticed(line: str) -> None:
    assert len(_faults(f"{line}\nfrom pytest_llm.checks.judge import judge\n")) == 1
