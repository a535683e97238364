"""What runs a model: one module for each system, one line in ``_REGISTRY`` for each module."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_llm.engines import grammar

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.protocols import Engine
    from pytest_llm.records import Build, BuildReference

DEFAULT = "llama-cpp-python"

# Engine -> module and class. The class is called with the build reference, the seconds to wait, and what runs
# a build that was made: an interpreter or a program.
_REGISTRY = {
    "llama-cpp-python": ("pytest_llm.engines.llama_cpp_python", "LlamaCppPython"),
    "llama-bench": ("pytest_llm.engines.llama_bench", "LlamaBench"),
}


def parse_build(text: str, start: Path) -> BuildReference:
    """Read ``ENGINE[@WHERE]``, or ``WHERE`` alone, which then means llama-cpp-python.

    Args:
        text: What the user wrote.
        start: The folder that relative paths count from.

    Raises:
        UnknownNameError: The engine is not known.
        UsageError: WHERE is nothing that this engine has, or nothing lies there.
    """
    return grammar.parse(text, start, _REGISTRY, DEFAULT)


def engine_for(build: BuildReference, timeout: float, interpreter: str = "") -> Engine:
    """Return the engine of a build.

    Args:
        build: Which one.
        timeout: The seconds that it waits for each answer.
        interpreter: That of a release, which has to be made before; the others have their own.
    """
    engine: Engine = _class_of(build)(build, timeout, interpreter)
    return engine


def describe(build: BuildReference, timeout: float, interpreter: str = "") -> Build:
    """Return what a build says of itself, asked in a process of its own.

    Args:
        build: Which one.
        timeout: The seconds to wait for the answer.
        interpreter: That of a release, which has to be made before.

    Raises:
        EngineError: It does not start.
    """
    said: Build = _class_of(build)(build, timeout, interpreter).describe()
    return said


def _class_of(build: BuildReference) -> Any:
    module, name = _REGISTRY[build.engine]
    return getattr(import_module(module), name)
