"""Benchmarks of GGUF models on llama.cpp, judged by pytest.

Importing this package costs nothing: the public names load when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pytest_llm.errors import LLMBenchError
    from pytest_llm.records import Run
    from pytest_llm.records.generation import GGUFModel

__all__ = ["GGUFModel", "LLMBenchError", "Run", "__version__"]

_HOMES = {
    "GGUFModel": "pytest_llm.records.generation",
    "LLMBenchError": "pytest_llm.errors",
    "Run": "pytest_llm.records",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
